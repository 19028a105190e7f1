// Checks and uses of features.
import type { MessageInitShape } from "@bufbuild/protobuf";

import { type CreateUsageEventRequestSchema, UsageAction } from "../gen/canuse/v1/entitlement_service_pb.js";
import type { CanUseAnswer, CreateUsageEventAnswer, UseFeatureAnswer } from "./answers.js";
import { type Amount, amount } from "./arguments.js";
import { Base } from "./base.js";
import { canUseAnswer, createUsageEventAnswer, useFeatureAnswer } from "./conversion.js";
import { badArgument, CanuseError } from "./errors.js";
import type { CallOptions, CreateUsageEventOptions, RecordOptions } from "./options.js";
import { callOptions, ids, recording } from "./requests.js";

export class Checks extends Base {
  /**
   * Check whether a user may use an amount of a feature now. It records nothing.
   *
   * @param delta The amount to use, 1 to 2^53 - 1. Ignored for a binary feature.
   */
  async canUse(userId: string, featureId: string, delta: Amount = 1, options: CallOptions = {}): Promise<boolean> {
    return (await this.canUseDetails(userId, featureId, delta, options)).access;
  }

  /**
   * The same as `canUse`, with the whole answer: the reason, and the counts that it is based on. If the service does not
   * answer, the client does, as its option `unavailable` says for the feature, or the feature itself; then the `failure` of
   * the answer is set.
   */
  async canUseDetails(
    userId: string,
    featureId: string,
    delta: Amount = 1,
    options: CallOptions = {},
  ): Promise<CanUseAnswer> {
    const request = { ...ids(userId, featureId), delta: amount("delta", delta) };
    try {
      const response = await this.calls.canUse(request, this.checkOptions(featureId, options));
      const answer = canUseAnswer(response, featureId);
      this.fallbacks.note(userId, answer);
      return answer;
    } catch (error) {
      if (!(error instanceof CanuseError)) throw error;
      return this.fallbacks.answer(userId, featureId, request.delta, error);
    }
  }

  /**
   * Check and record a use in one atomic step.
   *
   * @param delta The amount, 1 to 2^53 - 1.
   * @returns Whether the user may use the amount: true if and only if the use was recorded.
   */
  async useFeature(
    userId: string,
    featureId: string,
    delta: Amount = 1,
    options: RecordOptions = {},
  ): Promise<boolean> {
    return (await this.useFeatureDetails(userId, featureId, delta, options)).access;
  }

  /** The same as `useFeature`, with the whole answer: the reason, and the counts after the call. */
  async useFeatureDetails(
    userId: string,
    featureId: string,
    delta: Amount = 1,
    options: RecordOptions = {},
  ): Promise<UseFeatureAnswer> {
    const request = { ...ids(userId, featureId), delta: amount("delta", delta), ...recording(options) };
    const response = await this.calls.useFeature(request, callOptions(options));
    const answer = useFeatureAnswer(response, featureId);
    this.fallbacks.noteCounts(userId, featureId, answer.access, answer);
    return answer;
  }

  /**
   * Record a use that has happened, also above the budget.
   *
   * @param delta With ADD, the amount: 1 by default; a negative one reduces the total, down to zero. With SET, the new
   * total of the period, required.
   * @returns Whether it was counted. False only if the user has no entitlement to count against.
   */
  async createUsageEvent(
    userId: string,
    featureId: string,
    delta?: Amount,
    options: CreateUsageEventOptions = {},
  ): Promise<boolean> {
    return (await this.createUsageEventDetails(userId, featureId, delta, options)).recorded;
  }

  /** The same as `createUsageEvent`, with the whole answer: the counts after the event, and the change of the total. */
  async createUsageEventDetails(
    userId: string,
    featureId: string,
    delta?: Amount,
    options: CreateUsageEventOptions = {},
  ): Promise<CreateUsageEventAnswer> {
    const { action = "ADD" } = options;
    if (action !== "ADD" && action !== "SET") throw badArgument("action", action, "'ADD' or 'SET'");
    const request: MessageInitShape<typeof CreateUsageEventRequestSchema> = {
      ...ids(userId, featureId),
      action: UsageAction[action],
      ...recording(options),
    };
    if (delta !== undefined) request.delta = amount("delta", delta);
    const response = await this.calls.createUsageEvent(request, callOptions(options));
    const answer = createUsageEventAnswer(response);
    this.fallbacks.noteCounts(userId, featureId, answer.recorded, answer);
    return answer;
  }
}
