// The errors of a client. A no to `canUse` or `useFeature` is an answer, not an error.
import type { DescMessage } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import type { Answer } from "./answers.js";
import type { ErrorReason } from "./reasons.js";

export type { ErrorReason } from "./reasons.js";

/** By the number that gRPC and Connect give them. */
const STATUSES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** The status of a failed call, as docs/errors.md names it. */
export type Status = (typeof STATUSES)[number];

/** One field of a request that was not accepted. */
export interface FieldViolation {
  /** The path of the field, as programs in TypeScript write it: `userId`. */
  field: string;
  /** What is accepted, and the value that was sent. */
  description: string;
}

interface Details {
  reason?: string | undefined;
  metadata?: Record<string, string>;
  violations?: FieldViolation[];
  retryAfterMs?: number | null;
  cause?: unknown;
}

/** A failed call, or an argument or option that cannot be sent. */
export class CanuseError extends Error {
  override readonly name = "CanuseError";
  /** The status, such as `NOT_FOUND`. `UNAVAILABLE` without a reason: the server was not reached, or the connection was
   * lost, and a use may have been recorded. */
  readonly code: Status;
  /** The reason, such as `USER_NOT_FOUND`; docs/errors.md lists them. Undefined: the server sent none, or was not reached. */
  readonly reason: ErrorReason | undefined;
  /** The ids involved, such as `user_id`. */
  readonly metadata: Record<string, string>;
  /** The fields that were not accepted. Empty except for invalid input. */
  readonly violations: FieldViolation[];
  /** The delay before a retry that the server asks for, in milliseconds. Null: it asks for none. */
  readonly retryAfterMs: number | null;
  /** The event id with which the call was sent, also a generated one: a later call with it counts once. Empty: the call
   * had none. A generated one is kept for at least 10 minutes. */
  eventId = "";

  constructor(message: string, code: Status, details: Details = {}) {
    super(`${message} (${details.reason ?? code})`, { cause: details.cause });
    this.code = code;
    this.reason = details.reason as ErrorReason | undefined;
    this.metadata = details.metadata ?? {};
    this.violations = details.violations ?? [];
    this.retryAfterMs = details.retryAfterMs ?? null;
  }

  /** The first field that was not accepted. Undefined: the input was valid. */
  get field(): string | undefined {
    return this.violations[0]?.field;
  }
}

/** The answer is no. The message is a sentence for the end user, without ids other than the feature's.
 *
 * It is no CanuseError: the call was answered. */
export class AccessDenied extends Error {
  override readonly name = "AccessDenied";
  /** The answer, with its reason and counts. */
  readonly answer: Answer;

  constructor(message: string, answer: Answer) {
    super(message);
    this.answer = answer;
  }
}

/** The error for an argument or option that cannot be sent; nothing was sent. */
export function badArgument(field: string, value: unknown, accepted: string): CanuseError {
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  return invalid(field, `${shown} of type ${typeof value} is not accepted; expected ${accepted}`);
}

export function invalid(field: string, description: string): CanuseError {
  return new CanuseError(`${field}: ${description}`, "INVALID_ARGUMENT", { violations: [{ field, description }] });
}

/** The error for what a Transport threw, except for a call that its caller aborted; `input` is the call's request. */
export function errorOf(failure: unknown, input: DescMessage): CanuseError {
  const error = ConnectError.from(failure);
  const info = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === "canuse");
  const [retry] = error.findDetails(RetryInfoSchema);
  let message = messageOf(error);
  const violations = error.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations);
  const renamed = violations.map(({ field: sent, description }) => {
    const field = localPath(sent, input);
    message = message.replace(`${sent}: `, () => `${field}: `);
    return { field, description };
  });
  const code = info === undefined && isLost(error) ? "UNAVAILABLE" : (STATUSES[error.code] ?? "UNKNOWN");
  return new CanuseError(message, code, {
    reason: info?.reason,
    metadata: info?.metadata ?? {},
    violations: renamed,
    retryAfterMs: retry?.retryDelay === undefined ? null : durationMs(retry.retryDelay),
    cause: failure,
  });
}

/** Whether the server was not reached, or did not get to its answer. */
function isLost({ code, cause }: ConnectError): boolean {
  // A server that shuts down cancels calls, and fetch has a TypeError for every failure of the network; errors of
  // Node.js have a code of their own.
  return code === Code.Canceled || cause instanceof TypeError || (cause instanceof Error && "code" in cause);
}

/** The message of an error. Fetch in Node.js says only in its cause why it failed. */
function messageOf({ rawMessage, cause }: ConnectError): string {
  const deeper = cause instanceof Error ? (cause.cause as { message?: string; code?: string } | undefined) : undefined;
  const why = deeper?.message || deeper?.code;
  return (why ? `${rawMessage}: ${why}` : rawMessage) || "no message";
}

/** A path in a request, `requests[1].user_id`, as programs in TypeScript write it. Keys of maps stay as they are. */
function localPath(path: string, message: DescMessage | undefined): string {
  const [, name = "", index = "", rest] = /^(\w+)(\[\d+\])?(?:\.(.*))?$/s.exec(path) ?? [];
  const field = message?.fields.find((each) => each.name === name);
  if (field === undefined) return path;
  const local = field.localName + index;
  return rest === undefined ? local : `${local}.${localPath(rest, field.message)}`;
}
