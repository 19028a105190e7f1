// The client: may this user use this feature now? `canuse/v1` has the messages, enums and services of the API.
export type {
  Answer,
  CanUseAnswer,
  Consumption,
  CreateUsageEventAnswer,
  Entitlement,
  ExtendLeaseAnswer,
  OnUnavailable,
  PastPeriod,
  Reason,
  ReserveAnswer,
  SettleAnswer,
  ShowUsageAnswer,
  Source,
  SourceBalance,
  UseFeatureAnswer,
} from "./client/answers.js";
export type { Amount } from "./client/arguments.js";
export { Canuse } from "./client/client.js";
export { throwIfDenied } from "./client/denial.js";
export { AccessDenied, CanuseError } from "./client/errors.js";
export type { ErrorReason, FieldViolation, Status } from "./client/errors.js";
export type * from "./client/options.js";
export type { Retry } from "./client/retry.js";
export type { Fallback } from "./client/unavailable.js";
export type { Use } from "./client/using.js";
