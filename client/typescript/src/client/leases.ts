// Leases: amounts reserved before use.
import type { ExtendLeaseAnswer, ReserveAnswer, SettleAnswer } from "./answers.js";
import { type Amount, amount, text } from "./arguments.js";
import { Checks } from "./checks.js";
import { extendLeaseAnswer, reserveAnswer, settleAnswer } from "./conversion.js";
import type { ExtendLeaseOptions, ReserveOptions, SettleOptions } from "./options.js";
import { callOptions, ids, lifetime, recording } from "./requests.js";

export class Leases extends Checks {
  /**
   * Reserve an amount before use, or what is available of it, for a limited time: a lease.
   *
   * @returns An answer whose `leaseId` is null if nothing was granted.
   */
  async reserve(
    userId: string,
    featureId: string,
    units: Amount,
    options: ReserveOptions = {},
  ): Promise<ReserveAnswer> {
    const { minAmount, ttlMs } = options;
    const request = {
      ...ids(userId, featureId),
      amount: amount("units", units),
      ...(minAmount === undefined ? {} : { minAmount: amount("minAmount", minAmount) }),
      ...lifetime(ttlMs),
      ...recording(options),
    };
    return reserveAnswer(await this.calls.reserve(request, callOptions(options)), featureId);
  }

  /**
   * End a lease: record what was used, and release the rest.
   *
   * @param used The amount used, 0 to 2^53 - 1. It may exceed what was granted.
   */
  async settle(leaseId: string, used: Amount, options: SettleOptions = {}): Promise<SettleAnswer> {
    const { final = true } = options;
    const request = { leaseId: text("leaseId", leaseId), used: amount("used", used), final, ...recording(options) };
    return settleAnswer(await this.calls.settle(request, callOptions(options)));
  }

  /** Extend a lease: a later expiry, more units, or both. If the units are not available, nothing is changed. */
  async extendLease(leaseId: string, options: ExtendLeaseOptions): Promise<ExtendLeaseAnswer> {
    const { ttlMs, amount: units } = options;
    const request = {
      leaseId: text("leaseId", leaseId),
      ...lifetime(ttlMs),
      ...(units === undefined ? {} : { amount: amount("amount", units) }),
      ...recording(options),
    };
    return extendLeaseAnswer(await this.calls.extendLease(request, callOptions(options)));
  }
}
