// Which calls may be made again although the first attempt may have been processed.
import { create, type DescMessage, type DescMethod, type Message } from "@bufbuild/protobuf";
import { DurationSchema, MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";

/** Why a call may be repeated: it changes nothing, its event id counts once, once done nothing is left to do. */
export type Safety = "reads" | "event id" | "repeatable" | "none";

/** Methods without an event id that change nothing when the same call is made again. */
const REPEATABLE = new Set(["CreateGrant", "EnsureUser", "RevokeGrant", "RevokeUserTokens"]);
/** How long a generated event id is kept. Only the retries of one call use it, and they end sooner. */
export const GENERATED_ID_TTL = create(DurationSchema, { seconds: 600n });

export function safetyOf(method: DescMethod): Safety {
  if (method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS) return "reads";
  if (takesEventIds(method.input)) return "event id";
  return REPEATABLE.has(method.name) ? "repeatable" : "none";
}

/** Whether a request, or each item of a batch, may have an event id. */
function takesEventIds({ field }: DescMessage): boolean {
  return "eventId" in (field["requests"]?.message?.field ?? field);
}

interface Identified {
  eventId?: string;
  eventIdTtl?: object;
}

/** Set a generated event id on a request, or on each item of a batch, that has none. */
export function giveEventIds(request: Message & Identified & { requests?: Identified[] }): void {
  for (const item of request.requests ?? [request]) {
    if (item.eventId) continue;
    item.eventId = newEventId();
    item.eventIdTtl = GENERATED_ID_TTL;
  }
}

export function newEventId(): string {
  // Not `crypto.randomUUID`: a page that was not loaded over TLS does not have it.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
