// Retries: after which failures a call is made again, how soon, and how often.
import { milliseconds } from "./arguments.js";
import { badArgument, type CanuseError } from "./errors.js";
import type { Safety } from "./safety.js";

/** How many answered calls add one retry to the budget. */
const ANSWERS_PER_RETRY = 5;
/** After what time the budget is full again without any answer. */
const MS_TO_REFILL = 100_000;

/**
 * How a client repeats calls that got no answer. Retries never count a use twice, and never exceed the deadline.
 *
 * After a failure the client waits for a random time, up to a maximum that doubles each time, and makes the call again
 * with the same event id.
 */
export interface Retry {
  /** Whether calls that record uses are repeated, too: each then has an event id, a generated one if the caller gives
   * none, which the store keeps for 10 to 20 minutes. False: only calls that change nothing, and those that a server did
   * not take because it shuts down. Default: true. */
  recording?: boolean;
  /** Maximum wait before the first retry. Default: 50. */
  initialBackoffMs?: number;
  /** Maximum wait before any retry. Default: 1000. */
  maxBackoffMs?: number;
  /** Time after which a call is not repeated. Default: its deadline. */
  maxMs?: number;
  /** Maximum number of retries in a row, of all calls of a client together. Each 5 answered calls allow one more; without
   * answers it is full again after 100 seconds. Calls that find it empty are not repeated, so that an overloaded service
   * is not called more often. Default: 1000. */
  budget?: number;
}

/** The retries of one client. */
export class Retries {
  readonly recording: boolean;
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly maxMs: number;
  readonly #capacity: number;
  #tokens: number;
  #refilledAt = performance.now();

  constructor(given: Retry | boolean) {
    const { recording = true, initialBackoffMs = 50, maxBackoffMs = 1000, maxMs, budget = 1000 } =
      given === true ? {} : given === false ? { recording: false, budget: 0 } : given;
    if (!Number.isSafeInteger(budget) || budget < 0) throw badArgument("retry.budget", budget, "an integer, 0 or more");
    this.recording = recording;
    this.initialBackoffMs = milliseconds("retry.initialBackoffMs", initialBackoffMs);
    this.maxBackoffMs = milliseconds("retry.maxBackoffMs", maxBackoffMs);
    this.maxMs = maxMs === undefined ? Infinity : milliseconds("retry.maxMs", maxMs);
    this.#capacity = this.#tokens = budget;
  }

  /** Note an answer, which adds a part of a retry. */
  answered(): void {
    this.#tokens = Math.min(this.#capacity, this.#tokens + 1 / ANSWERS_PER_RETRY);
  }

  /** Take one retry; false if none is left. */
  take(): boolean {
    const now = performance.now();
    const gained = ((now - this.#refilledAt) * this.#capacity) / MS_TO_REFILL;
    this.#refilledAt = now;
    this.#tokens = Math.min(this.#capacity, this.#tokens + gained);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

/** The attempts of one call: what follows from each failure. */
export class Attempts {
  readonly #retries: Retries;
  readonly #safety: Safety;
  /** When the last attempt has to be answered, in milliseconds as of `performance.now()`. */
  readonly #deadline: number;
  #count = 0;
  /** The failure to report if the following ones only say that there is still no answer. */
  #first: CanuseError | undefined;

  constructor(retries: Retries, safety: Safety, timeoutMs: number, retryMs: number) {
    this.#retries = retries;
    this.#safety = retries.recording || safety === "reads" ? safety : "none";
    this.#deadline = performance.now() + Math.min(timeoutMs, retries.maxMs, retryMs);
  }

  /** The time that is left for the next attempt. */
  remainingMs(): number {
    return Math.max(1, Math.ceil(this.#deadline - performance.now()));
  }

  /** How long to wait before the next attempt, in milliseconds; throws the error to report if there is none. */
  delayAfter(error: CanuseError): number {
    if (!this.#isRetried(error)) throw this.#reported(error);
    if (this.#first === undefined || this.#isUncertain(error)) this.#first = error;
    const longest = Math.min(this.#retries.maxBackoffMs, this.#retries.initialBackoffMs * 2 ** Math.min(this.#count, 32));
    // "Full jitter": callers whose calls failed together do not come back together.
    const delay = Math.random() * longest;
    if (performance.now() + delay >= this.#deadline || !this.#retries.take()) throw this.#reported(error);
    this.#count += 1;
    return delay;
  }

  #isRetried({ code, reason }: CanuseError): boolean {
    // Nothing was written, on any server.
    if (reason === "SHUTTING_DOWN") return true;
    if (this.#safety === "none") return false;
    // The server has waited for the store already: it is worth asking again only to learn what became of an earlier
    // attempt.
    if (reason === "STORE_UNAVAILABLE") return this.#first !== undefined && this.#isUncertain(this.#first);
    return code === "UNAVAILABLE";
  }

  /** Whether an attempt that failed like this may have written something. */
  #isUncertain({ code, reason }: CanuseError): boolean {
    if (this.#safety === "reads" || reason === "SHUTTING_DOWN" || reason === "STORE_UNAVAILABLE") return false;
    return code === "UNAVAILABLE";
  }

  /** The error to report: that nothing was written by the last attempt says nothing about the others. */
  #reported(error: CanuseError): CanuseError {
    if (this.#first === undefined || this.#isUncertain(error)) return error;
    if (error.code === "DEADLINE_EXCEEDED") {
      // It may have been sent, or may have waited for a connection in vain.
      return this.#safety === "reads" || this.#isUncertain(this.#first) ? this.#first : error;
    }
    return error.code === "UNAVAILABLE" || error.code === "RESOURCE_EXHAUSTED" ? this.#first : error;
  }
}
