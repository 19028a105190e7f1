// Calls of the server's port for HTTP in GraphQL.
import { errorOf, type GraphQLError, KanaError, NetworkError } from "./errors.js";
import type { Result } from "./types.js";

export interface Options {
  apiKey: string;
  /** Where the server is: the address of its HTTP port, with the path `/graphql`. Default: `KANA_ENDPOINT` in the
   * environment, or a server on this machine. */
  endpoint?: string;
  /** Is awaited once for each call that failed. */
  onError?: (error: KanaError) => unknown;
  /** Whether to call again after an error; `attempt` counts from 1. Default: calls that change nothing, up to twice
   * after a NetworkError. */
  retry?: (error: KanaError, attempt: number) => boolean;
}

const DEFAULT_ENDPOINT = "http://127.0.0.1:50052/graphql";
const MAX_ATTEMPTS = 3;

declare const process: { env: Record<string, string | undefined> } | undefined;

export class GraphQL {
  readonly #options: Options;
  readonly #endpoint: string;

  constructor(options: Options) {
    this.#options = options;
    const configured = typeof process === "undefined" ? undefined : process.env["KANA_ENDPOINT"];
    this.#endpoint = options.endpoint ?? configured ?? DEFAULT_ENDPOINT;
  }

  /** Run a query or mutation, and return its only field. */
  async run<Data>(operation: string, variables: object = {}): Promise<Result<Data>> {
    for (let attempt = 1; ; attempt++) {
      try {
        return { data: await this.#post<Data>(operation, variables) };
      } catch (failure) {
        const error = failure instanceof KanaError ? failure : new KanaError(String(failure));
        if (this.#retries(error, attempt, operation)) continue;
        return this.fail(error);
      }
    }
  }

  /** Tell of an error, and return it. */
  async fail(error: KanaError): Promise<{ error: KanaError }> {
    await this.#options.onError?.(error);
    return { error };
  }

  #retries(error: KanaError, attempt: number, operation: string): boolean {
    if (this.#options.retry) return this.#options.retry(error, attempt);
    // A mutation that got no answer may have been made: made again, it would count twice.
    return error instanceof NetworkError && attempt < MAX_ATTEMPTS && operation.startsWith("query");
  }

  async #post<Data>(query: string, variables: object): Promise<Data> {
    const headers = { "Content-Type": "application/json", Authorization: this.#options.apiKey };
    const request = { method: "POST", headers, body: JSON.stringify({ query, variables }) };
    const response = await fetch(this.#endpoint, request).catch((failure: unknown) => {
      throw new NetworkError(`no answer from ${this.#endpoint}: ${String(failure)}`);
    });
    const answer = (await response.json().catch(() => ({}))) as { data?: Record<string, Data>; errors?: GraphQLError[] };
    const [field] = Object.values(answer.data ?? {});
    if (answer.errors !== undefined || field === undefined) throw errorOf(answer.errors, response.status);
    return field;
  }
}
