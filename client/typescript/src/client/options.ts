// What callers may choose: for a client, and for each call.
import type { Transport } from "@connectrpc/connect";

import type { Amount } from "./arguments.js";
import type { Retry } from "./retry.js";
import type { Fallback } from "./unavailable.js";

/** The options of a client. */
export interface Options {
  /** The address of the server's HTTP port, such as `https://canuse.example.com`. Default in Node.js: the environment
   * variable CANUSE_URL, otherwise `http://127.0.0.1:50052`. Required in a browser. */
  url?: string;
  /** The API key, sent with each call. Over a network, use it only with https. A secret key does not belong in a page: a
   * page has a publishable key. Default in Node.js: CANUSE_API_KEY, if there is no `userToken`. */
  apiKey?: string;
  /** In place of an API key: the token of a user (`generateUserToken`), for a page of this user. A function is called
   * before each request, so that a page can renew a token that expires. */
  userToken?: string | (() => string | Promise<string>);
  /** Deadline of one call with its retries (of a list: one page), in milliseconds. Default: 5000. */
  timeoutMs?: number;
  /** How calls are repeated if the service does not answer. False: never. Default: true. */
  retry?: Retry | boolean;
  /** What to answer to checks of a feature, by its id, if the service does not answer in time. It is visible in the answer's
   * `failure`. Calls that record always throw the error. */
  unavailable?: Record<string, Fallback>;
  /** The same for features that `unavailable` does not name. Default: as the feature's `on_unavailable` said in the last
   * answer about it; `raise` if there was none. */
  unavailableDefault?: Fallback;
  /** What a write must reach before it is acknowledged, if the server requires less: the store's append-only file, or its
   * replicas. A write that does not reach it is OUTCOME_UNKNOWN. */
  durability?: "fsync" | "replica";
  /** Makes the requests in place of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** A Transport of `@connectrpc/connect` in place of `url` and `fetch`, such as one for gRPC of `@connectrpc/connect-node`. */
  transport?: Transport;
}

/** The options of every call. */
export interface CallOptions {
  /** Ends the call: it then throws the signal's reason. A use may have been recorded nevertheless. */
  signal?: AbortSignal | undefined;
  /** Deadline of the call with its retries, in milliseconds, in place of that of the client. */
  timeoutMs?: number | undefined;
}

/** The options of calls that record. */
export interface RecordOptions extends CallOptions {
  /** Idempotency key, at most 128 bytes. A retry with it gets the first answer and is not counted. Default: one for the
   * retries of this call. */
  eventId?: string;
  /** Metadata to store with the event: at most 16 pairs, 2 KiB in total. */
  metadata?: Record<string, string>;
}

export interface CreateUsageEventOptions extends RecordOptions {
  /** Whether to add `delta` to the total, or to set the total to it. Default: ADD. */
  action?: "ADD" | "SET";
}

export interface ReserveOptions extends CallOptions {
  /** The smallest amount to grant. If less is available, nothing is granted. Default: 1. */
  minAmount?: Amount;
  /** Lifetime of the lease in milliseconds, 1 second to 7 days. Default: 1 minute. */
  ttlMs?: number;
  /** Idempotency key, at most 128 bytes. A retry with it gets the same lease. Default: one for the retries of this call. */
  eventId?: string;
}

export interface SettleOptions extends RecordOptions {
  /** Whether to end the lease. False: record `used` and keep the rest of the lease. Default: true. */
  final?: boolean;
}

export interface ExtendLeaseOptions extends CallOptions {
  /** Lifetime of the lease from now on in milliseconds, 1 second to 7 days. It never shortens the lease. */
  ttlMs?: number;
  /** Units to reserve in addition, 1 to 2^53 - 1: all of them or none. */
  amount?: Amount;
  /** Idempotency key, at most 128 bytes. Default: one for the retries of this call. */
  eventId?: string;
}

export interface UsingOptions extends CallOptions {
  /** How long the units stay reserved for work that takes longer, or never ends, in milliseconds: 1 second to 7 days.
   * Default: 1 minute. The use of work that takes longer is recorded nevertheless, also above the budget. */
  ttlMs?: number;
  /** The name of the feature in the message of AccessDenied, such as `API calls`. */
  featureName?: string;
}

export interface ListOptions extends CallOptions {
  /** Whether to include the features that the user does not have, with the packages that give them: `packageIds`. */
  includeLocked?: boolean;
}

export interface EnsureUserOptions extends CallOptions {
  name?: string;
  /** Not checked. */
  email?: string;
  /** The user's id in the billing system. */
  billingId?: string;
  /** Metadata to store with the user: at most 16 pairs, 2 KiB in total. */
  metadata?: Record<string, string>;
  /** A disabled user may not use any feature. */
  disabled?: boolean;
  /** A base package, if the user has no base package, or an add-on that the user does not have. */
  packageId?: string;
}

export interface ChangePackageOptions extends CallOptions {
  /** Change at the end of the period or trial. A later call replaces the planned change. Default: now. */
  atPeriodEnd?: boolean;
  /** Idempotency key, at most 128 bytes. A retry with it gets the first answer and changes nothing. */
  eventId?: string;
}
