// Parts that requests have in common.
import { duration, text } from "./arguments.js";
import type { CallOptions, RecordOptions } from "./options.js";

export function ids(userId: unknown, featureId: unknown) {
  return { userId: text("userId", userId), featureId: text("featureId", featureId) };
}

export function lifetime(ttlMs: number | undefined) {
  return ttlMs === undefined ? {} : { ttl: duration("ttlMs", ttlMs) };
}

export function recording({ eventId, metadata }: RecordOptions) {
  return {
    ...(eventId === undefined ? {} : { eventId: text("eventId", eventId) }),
    ...(metadata === undefined ? {} : { metadata }),
  };
}

export function callOptions({ signal, timeoutMs }: CallOptions) {
  return { signal, timeoutMs };
}
