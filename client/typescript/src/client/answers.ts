// The answers of the client: the fields of the API's messages as plain objects, which can be sent on as JSON.
//
// Amounts are numbers, in the feature's units: the API's end at 2^53 - 1. Times are Dates, lengths of time milliseconds.
import type { OnUnavailable as OnUnavailableValues } from "../gen/canuse/v1/catalog_service_pb.js";
import type { Reason as ReasonValues, Source as SourceValues } from "../gen/canuse/v1/reason_pb.js";
import type { CanuseError } from "./errors.js";

/** The reason of an answer, as the API documents it; a number is that of a newer server. */
export type Reason = keyof typeof ReasonValues | `${number}`;
/** What an answer is based on, as the API documents it. */
export type Source = keyof typeof SourceValues | `${number}`;
/** The answer while the store is unavailable, as the API documents it. */
export type OnUnavailable = keyof typeof OnUnavailableValues | `${number}`;

/** A user's use of a consumable feature in the current period. */
export interface Consumption {
  /** Units used since `periodStart`. */
  used: number;
  /** Units that may be used in this period. Null: unlimited. */
  budget: number | null;
  /** Units left: budget - used - reserved, never negative. Null: unlimited. */
  remaining: number | null;
  /** Units reserved by open leases. */
  reserved: number;
  /** Whether use above the budget is allowed. */
  overageEnabled: boolean;
  /** Start of the period, inclusive. */
  periodStart: Date;
  /** End of the period, exclusive: `used` resets to zero. Null: never. */
  resetsAt: Date | null;
}

/** What every answer has that is a yes or a no. It is an object, and so true in a condition: ask for its `access`. */
export interface Answer {
  /** Whether it is a yes. */
  access: boolean;
  reason: Reason;
  /** The counts that the answer is based on. Null for a binary feature and without an entitlement. */
  consumption: Consumption | null;
  featureId: string;
  /** After what time the same call will be a yes if nothing but time changes. Null: a yes, or not known. */
  retryAfterMs: number | null;
}

/** Whether a user may use an amount now. */
export interface CanUseAnswer extends Answer {
  /** What the answer is based on. */
  source: Source;
  /** What the feature is set to do while the store is unavailable. */
  onUnavailable: OnUnavailable;
  /** Why the service did not answer. Then the client did, as its option `unavailable` or the feature says: the `source` is
   * FALLBACK or LAST_KNOWN, and the reason is STORE_UNAVAILABLE. Null: the service answered. */
  failure: CanuseError | null;
}

/** The result of a check with a use: `access` is true if and only if the use was recorded. */
export interface UseFeatureAnswer extends Answer {
  /** The idempotency key that was sent. Empty: retries are off, and there was none. */
  eventId: string;
  /** Whether this is the stored answer to an earlier call with the same `eventId`. */
  replayed: boolean;
}

/** The result of recording a use. */
export interface CreateUsageEventAnswer {
  /** Whether the use was counted. False only if the user has no entitlement to count against. */
  recorded: boolean;
  /** The user's state after the event, as the reason of a check. */
  reason: Reason;
  /** The counts after the event. Null if nothing was recorded. */
  consumption: Consumption | null;
  /** The change of the total, in the feature's units. */
  appliedDelta: number;
  /** The idempotency key that was sent, otherwise the event's id in the ledger. */
  eventId: string;
  /** Whether this is the stored answer to an earlier call with the same `eventId`. */
  replayed: boolean;
}

/** The result of a reservation; `access` is true if and only if something was granted. */
export interface ReserveAnswer extends Answer {
  /** Units granted. 0: nothing was reserved. */
  granted: number;
  /** The id of the lease, for `settle`. Null if nothing was granted. */
  leaseId: string | null;
  /** When the lease expires and releases its units. Null if nothing was granted. */
  expiresAt: Date | null;
  /** The idempotency key that was sent. */
  eventId: string;
  /** Whether this is the stored answer to an earlier call with the same `eventId`. */
  replayed: boolean;
}

/** The result of settling a lease. */
export interface SettleAnswer {
  /** Whether a use was recorded. False only if `used` was 0. */
  recorded: boolean;
  /** The user's state after the event, as the reason of a check. */
  reason: Reason;
  /** The counts of the current period after the event. Null if the user no longer has the entitlement. */
  consumption: Consumption | null;
  /** Whether the lease had expired. The use is recorded nevertheless. */
  late: boolean;
  /** The idempotency key that was sent, otherwise the event's id in the ledger. */
  eventId: string;
  /** Whether this is the stored answer to an earlier call with the same `eventId`. */
  replayed: boolean;
}

/** The result of extending a lease. */
export interface ExtendLeaseAnswer {
  /** Whether the lease was extended. False only if the amount is not available; then nothing was changed. */
  extended: boolean;
  /** Units that the lease reserves now: all that was granted and not settled yet. */
  granted: number;
  expiresAt: Date | null;
  /** The reason; without an amount the user's state after the call. */
  reason: Reason;
  /** The counts after the call. Null without an entitlement. */
  consumption: Consumption | null;
  /** The idempotency key that was sent. */
  eventId: string;
  /** Whether this is the stored answer to an earlier call with the same `eventId`. */
  replayed: boolean;
}

/** A user's entitlement to one feature; `access`: whether the user may use one unit now. */
export interface Entitlement extends Answer {
  /** The subscriptions that give the feature, including those that do not count now. */
  subscriptionIds: string[];
  /** The grants of the feature, in the order in which they are used, including those that do not count now. */
  grantIds: string[];
  /** Of a feature that the user does not have: the packages that give it. */
  packageIds: string[];
}

/** A period that has ended. */
export interface PastPeriod {
  /** Its start, inclusive. */
  periodStart: Date;
  /** Its end, exclusive. */
  periodEnd: Date;
  /** Units used in the period. */
  used: number;
  /** The package's limit in the period; of a sum, the limits of its periods together. Null: unlimited. */
  budget: number | null;
  /** Units of `used` that came from grants. */
  drawnFromGrants: number;
  /** Units used beyond the budget and the grants; of a sum, that of its periods together. */
  overage: number;
  /** Whether it is the sum of the periods shorter than a day that started on one day (UTC), over a week ago. */
  summed: boolean;
}

/** A source of a budget and the units left of it. */
export interface SourceBalance {
  /** The subscription, or empty for a grant. */
  subscriptionId: string;
  /** The grant, or empty for a subscription. */
  grantId: string;
  /** Units in this period (subscription) or in total (grant). Null: unlimited. */
  amount: number | null;
  /** Units left now. Null: unlimited. */
  left: number | null;
}

/** A user's use of one feature. It is neither a yes nor a no: `canUse` is for that. */
export interface ShowUsageAnswer {
  /** The current period. Null if the user has no entitlement to the feature. */
  current: Consumption | null;
  /** Past periods in which something was used, newest first. */
  past: PastPeriod[];
  /** The sources of the budget: the package that counts, then the grants in the order of use, including ended ones. */
  sources: SourceBalance[];
}
