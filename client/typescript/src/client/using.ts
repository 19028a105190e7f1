// A check before a piece of work, and a use recorded after it, if it succeeds.
import type { CanUseAnswer, ReserveAnswer } from "./answers.js";
import { type Amount, amount } from "./arguments.js";
import { reserveAnswer } from "./conversion.js";
import { throwIfDenied } from "./denial.js";
import { badArgument, CanuseError } from "./errors.js";
import { Leases } from "./leases.js";
import type { UsingOptions } from "./options.js";
import { ids, lifetime } from "./requests.js";
import { GENERATED_ID_TTL, newEventId } from "./safety.js";

/** Maximum time to give units back for. Otherwise they are free when the lease expires. */
const RELEASE_MS = 1000;

/** A use that `using` records when its work has succeeded. */
export interface Use {
  /** The answer to the check before the work: of a consumable feature a lease, of a binary one a check. */
  readonly answer: ReserveAnswer | CanUseAnswer;
  /** The amount to record, in the feature's units. The work may change it to what was really used, 0 for nothing. */
  delta: Amount;
  /** The idempotency key of the use. */
  readonly eventId: string;
}

type Feature = ReturnType<typeof ids>;

export class UsingCalls extends Leases {
  /**
   * Do work for which units are used: `await canuse.using("124", "api-calls", 3, async () => { … })`.
   *
   * Before the work the units are reserved, so work that runs at once never uses more than the budget together. After it
   * they are recorded, with an event id, so that retries count once. Work that throws gives them back. A binary feature is
   * only checked. If the service does not answer before the work, the client does, as to `canUse`; the use is recorded
   * after the work nevertheless.
   *
   * @param work Gets the use, whose `delta` it may change to what was really used.
   * @returns What the work returns.
   * @throws AccessDenied: the answer is no, and the work does not run. CanuseError: before the work, there is no answer,
   * and it does not run; after it, the work is done, and it is not certain that its use is recorded: `createUsageEvent`
   * with the error's `eventId` records it, and ALREADY_EXISTS then means that it was recorded.
   */
  using<T>(
    userId: string,
    featureId: string,
    work: (use: Use) => T | Promise<T>,
    options?: UsingOptions,
  ): Promise<T>;
  using<T>(
    userId: string,
    featureId: string,
    delta: Amount,
    work: (use: Use) => T | Promise<T>,
    options?: UsingOptions,
  ): Promise<T>;
  async using<T>(userId: string, featureId: string, ...rest: unknown[]): Promise<T> {
    const [delta, work, options = {}] = typeof rest[0] === "function" ? [1, ...rest] : rest;
    if (typeof work !== "function") throw badArgument("work", work, "a function");
    const feature = ids(userId, featureId);
    return this.#run(feature, amount("delta", delta), work as (use: Use) => T | Promise<T>, options as UsingOptions);
  }

  async #run<T>(
    feature: Feature,
    delta: bigint,
    work: (use: Use) => T | Promise<T>,
    options: UsingOptions,
  ): Promise<T> {
    const { timeoutMs, featureName } = options;
    const answer = throwIfDenied(await this.#reserveOrCheck(feature, delta, options), featureName);
    const leaseId = "leaseId" in answer ? answer.leaseId : null;
    const use: Use = { answer, delta: Number(delta), eventId: newEventId() };
    let result: T;
    try {
      result = await work(use);
    } catch (failure) {
      if (leaseId !== null) await this.#release(leaseId);
      throw failure;
    }
    // The work is done, so its use is recorded, whatever the caller's signal says.
    if (leaseId !== null) await this.#settle(feature, leaseId, use, timeoutMs);
    else if ("failure" in answer && answer.failure !== null) await this.#record(feature, use, timeoutMs);
    return result;
  }

  /** Reserve units, or check a feature that has none. */
  async #reserveOrCheck(
    { userId, featureId }: Feature,
    delta: bigint,
    options: UsingOptions,
  ): Promise<ReserveAnswer | CanUseAnswer> {
    const request = { userId, featureId, amount: delta, minAmount: delta, ...lifetime(options.ttlMs) };
    try {
      return reserveAnswer(await this.calls.reserve(request, this.checkOptions(featureId, options)), featureId);
    } catch (error) {
      if (!(error instanceof CanuseError)) throw error;
      if (error.reason === "FEATURE_NOT_CONSUMABLE") return this.canUseDetails(userId, featureId, 1, options);
      // A lease that was made without an answer expires by itself.
      return this.fallbacks.answer(userId, featureId, delta, error);
    }
  }

  /** Give the units back. */
  async #release(leaseId: string): Promise<void> {
    try {
      await this.calls.settle({ leaseId, used: 0n }, { timeoutMs: RELEASE_MS });
    } catch (error) {
      if (!(error instanceof CanuseError)) throw error;
    }
  }

  /** Record a use and end its lease. */
  async #settle(feature: Feature, leaseId: string, use: Use, timeoutMs: number | undefined): Promise<void> {
    const used = amount("delta", use.delta);
    try {
      const request = { leaseId, used, eventId: use.eventId, eventIdTtl: GENERATED_ID_TTL };
      await this.calls.settle(request, { timeoutMs });
    } catch (error) {
      // The work took so much longer than the lease that this was deleted, and the use is not recorded yet.
      if (error instanceof CanuseError && error.code === "NOT_FOUND") await this.#record(feature, use, timeoutMs);
      else throw error;
    }
  }

  /** Record a use without a lease. */
  async #record(feature: Feature, use: Use, timeoutMs: number | undefined): Promise<void> {
    const delta = amount("delta", use.delta);
    if (delta === 0n) return;
    const request = { ...feature, delta, eventId: use.eventId, eventIdTtl: GENERATED_ID_TTL };
    try {
      await this.calls.createUsageEvent(request, { timeoutMs });
    } catch (error) {
      // Without an answer it was not known that the feature is binary.
      if (!(error instanceof CanuseError && error.reason === "FEATURE_NOT_CONSUMABLE")) throw error;
    }
  }
}
