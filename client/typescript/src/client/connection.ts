// Where a client's calls go, and with which credentials.
import { read } from "#environment";
import { createConnectTransport } from "@connectrpc/connect-web";
import type { Transport } from "@connectrpc/connect";

import { milliseconds, text } from "./arguments.js";
import { badArgument } from "./errors.js";
import type { Options } from "./options.js";
import { Retries } from "./retry.js";
import { RetryingTransport } from "./transport.js";

const DEFAULT_TIMEOUT_MS = 5000;

/** The calls that the options of a client ask for; throws a CanuseError that names an option that cannot be. */
export function connect(options: Options): Transport {
  return new RetryingTransport(
    options.transport ?? overHttp(options),
    headers(options),
    milliseconds("timeoutMs", options.timeoutMs ?? DEFAULT_TIMEOUT_MS),
    new Retries(options.retry ?? true),
  );
}

function overHttp({ url, fetch }: Options): Transport {
  const given = url ?? read().url;
  const accepted = "the address of the server's HTTP port, such as https://canuse.example.com";
  if (typeof given !== "string" || !/^https?:\/\//.test(given) || !URL.canParse(given)) {
    throw badArgument("url", given, accepted);
  }
  const baseUrl = given.replace(/\/+$/, "");
  // Calls that only read are sent by POST as well: the ids of users do not belong in the logs of proxies.
  return createConnectTransport({ baseUrl, useBinaryFormat: true, ...(fetch === undefined ? {} : { fetch }) });
}

/** Return what makes the headers of each call. */
function headers({ apiKey, userToken, durability }: Options): () => Promise<Record<string, string>> {
  if (apiKey !== undefined && userToken !== undefined) throw badArgument("userToken", "…", "no apiKey beside it");
  if (durability !== undefined && durability !== "fsync" && durability !== "replica") {
    throw badArgument("durability", durability, "'fsync' or 'replica'");
  }
  const fixed: Record<string, string> = durability === undefined ? {} : { "Canuse-Durability": durability };
  if (typeof userToken === "function") {
    return async () => ({ ...fixed, ...authorization("userToken", await userToken()) });
  }
  const name = userToken === undefined ? "apiKey" : "userToken";
  const all = { ...fixed, ...authorization(name, userToken ?? apiKey ?? read().apiKey ?? "") };
  return async () => all;
}

/** An empty key sends none. */
function authorization(name: string, secret: unknown): Record<string, string> {
  // The error must not show what may be a key.
  if (!/^[\x21-\x7e]*$/.test(text(name, secret))) throw badArgument(name, "…", "ASCII without spaces");
  return secret === "" ? {} : { Authorization: `Bearer ${secret as string}` };
}
