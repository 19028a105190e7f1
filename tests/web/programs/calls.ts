// Calls any method of the API, with requests and answers as JSON, as a program in TypeScript does.
import { type DescMethod, type DescService, fromJson, type JsonValue, type Message, toJson } from "@bufbuild/protobuf";
import { type CallOptions, Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import * as api from "canuse/v1";

export interface Options {
  baseUrl: string;
  useBinaryFormat: boolean;
  apiKey: string;
}

export interface Call {
  path: string;
  request: JsonValue;
  timeoutMs?: number;
}

type Method = (request: Message, options: CallOptions) => Promise<Message> | AsyncIterable<Message>;

// The answer, or the messages of a stream, and a header of the answer that only requests by GET have; or the error.
export async function call(transport: (interceptors: Interceptor[]) => Transport, options: Options, call: Call) {
  let cacheControl: string | null = null;
  const authorize: Interceptor = (next) => async (request) => {
    request.header.set("Authorization", `Bearer ${options.apiKey}`);
    const response = await next(request);
    cacheControl = response.header.get("Cache-Control");
    return response;
  };
  const [serviceName, methodName] = call.path.split("/") as [string, string];
  const service = (api as unknown as Record<string, DescService>)[serviceName] as DescService;
  const method = service.methods.find(({ name }) => name === methodName) as DescMethod;
  const client = createClient(service, transport([authorize])) as unknown as Record<string, Method>;
  try {
    const pending = client[method.localName]!(fromJson(method.input, call.request), { timeoutMs: call.timeoutMs });
    if (method.methodKind === "unary") return { answer: toJson(method.output, await (pending as Promise<Message>)), cacheControl };
    const messages: JsonValue[] = [];
    for await (const message of pending as AsyncIterable<Message>) messages.push(toJson(method.output, message));
    return { messages, cacheControl };
  } catch (failure) {
    const error = ConnectError.from(failure);
    return {
      error: Code[error.code],
      message: error.rawMessage,
      reasons: error.findDetails(api.ErrorInfoSchema).map(({ reason }) => reason),
      fields: error.findDetails(api.BadRequestSchema).flatMap((bad) => bad.fieldViolations.map(({ field }) => field)),
    };
  }
}
