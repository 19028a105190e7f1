// Calls with a client's credentials and deadline, repeated where that is safe, and with errors as CanuseErrors.
import {
  clone,
  create,
  type DescField,
  type DescMessage,
  type DescMethodStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { isFieldError } from "@bufbuild/protobuf/reflect";
import { type ContextValues, createContextKey, type Transport, type UnaryResponse } from "@connectrpc/connect";

import { milliseconds } from "./arguments.js";
import { type CanuseError, errorOf, invalid } from "./errors.js";
import { Attempts, type Retries } from "./retry.js";
import { giveEventIds, safetyOf } from "./safety.js";

/** How long a call is repeated at most. */
export const retryMsKey = createContextKey(Infinity);

export class RetryingTransport implements Transport {
  readonly #transport: Transport;
  readonly #headers: () => Promise<Record<string, string>>;
  readonly #timeoutMs: number;
  readonly #retries: Retries;

  constructor(
    transport: Transport,
    headers: () => Promise<Record<string, string>>,
    timeoutMs: number,
    retries: Retries,
  ) {
    this.#transport = transport;
    this.#headers = headers;
    this.#timeoutMs = timeoutMs;
    this.#retries = retries;
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: MessageInitShape<I>,
    contextValues?: ContextValues,
  ): Promise<UnaryResponse<I, O>> {
    const limitMs = timeoutMs === undefined ? this.#timeoutMs : milliseconds("timeoutMs", timeoutMs);
    const safety = safetyOf(method);
    const message = copied(method.input, input);
    if (safety === "event id" && this.#retries.recording) giveEventIds(message);
    const attempts = new Attempts(this.#retries, safety, limitMs, contextValues?.get(retryMsKey) ?? Infinity);
    for (let attemptMs = limitMs; ; attemptMs = attempts.remainingMs()) {
      signal?.throwIfAborted();
      const headers = await this.#allHeaders(header);
      try {
        const response = await this.#transport.unary(method, signal, attemptMs, headers, message, contextValues);
        this.#retries.answered();
        return response;
      } catch (failure) {
        signal?.throwIfAborted();
        const error = errorOf(failure, method.input);
        error.eventId = (message as { eventId?: string }).eventId ?? "";
        await wait(attempts.delayAfter(error), signal);
      }
    }
  }

  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: AsyncIterable<MessageInitShape<I>>,
    contextValues?: ContextValues,
  ) {
    const typed = (failure: unknown): CanuseError => {
      signal?.throwIfAborted();
      return errorOf(failure, method.input);
    };
    const headers = await this.#allHeaders(header);
    try {
      const response = await this.#transport.stream(method, signal, timeoutMs, headers, input, contextValues);
      return { ...response, message: withErrors(response.message, typed) };
    } catch (failure) {
      throw typed(failure);
    }
  }

  async #allHeaders(given: HeadersInit | undefined): Promise<Headers> {
    const headers = new Headers(given);
    for (const [name, value] of Object.entries(await this.#headers())) headers.set(name, value);
    return headers;
  }
}

/** A request of its own: a message of the caller that is sent again must not have the event ids of this call. */
function copied<I extends DescMessage>(schema: I, input: MessageInitShape<I>): MessageShape<I> {
  try {
    return clone(schema, create(schema, input));
  } catch (error) {
    if (!isFieldError(error)) throw error;
    const field = error.field() as DescField;
    throw invalid(field.localName, error.message);
  }
}

async function* withErrors<T>(messages: AsyncIterable<T>, typed: (failure: unknown) => CanuseError) {
  try {
    yield* messages;
  } catch (failure) {
    throw typed(failure);
  }
}

/** Wait until a time has passed; throw the reason of the signal if that comes first. */
function wait(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, delayMs);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
  });
}
