// Checks of what callers pass: protobuf would send some wrong values as others, or name no field.
import { create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";

import { badArgument } from "./errors.js";

/** An amount in a feature's units: an integer up to 2^53 - 1. */
export type Amount = number | bigint;

/** The longest time that timers of JavaScript can wait. */
const MAX_MS = 2 ** 31 - 1;

export function text(name: string, value: unknown): string {
  if (typeof value !== "string") throw badArgument(name, value, "a string");
  return value;
}

export function amount(name: string, value: unknown): bigint {
  // The server has bounds for amounts. A number that is not safe may be another one than the caller meant.
  if (typeof value === "bigint" && BigInt.asIntN(64, value) === value) return value;
  if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
  throw badArgument(name, value, "an integer up to 2^53 - 1");
}

/** A time to wait, in milliseconds. */
export function milliseconds(name: string, value: unknown): number {
  if (typeof value === "number" && value > 0 && value <= MAX_MS) return value;
  throw badArgument(name, value, `a number of milliseconds above 0 and at most ${MAX_MS}`);
}

/** A length of time in a request, from milliseconds. */
export function duration(name: string, value: unknown): Duration {
  if (typeof value !== "number" || !Number.isFinite(value)) throw badArgument(name, value, "a number of milliseconds");
  const seconds = Math.trunc(value / 1000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: Math.round((value - seconds * 1000) * 1e6) });
}
