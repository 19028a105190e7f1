// Makes answers of the API's messages.
import { type Duration, durationMs, type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";

import { OnUnavailable as OnUnavailableValues } from "../gen/canuse/v1/catalog_service_pb.js";
import { Reason as ReasonValues, Source as SourceValues } from "../gen/canuse/v1/reason_pb.js";
import type * as v1 from "../v1.js";
import type {
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
  UseFeatureAnswer,
} from "./answers.js";

function consumptionOf(message: v1.Consumption | undefined): Consumption | null {
  if (message === undefined) return null;
  return {
    used: Number(message.used),
    budget: amountOrNull(message.budget),
    remaining: amountOrNull(message.remaining),
    reserved: Number(message.reserved),
    overageEnabled: message.overageEnabled,
    periodStart: date(message.periodStart) ?? new Date(0),
    resetsAt: date(message.resetsAt),
  };
}

export function canUseAnswer(message: v1.CanUseResponse, featureId: string): CanUseAnswer {
  const { onUnavailable = OnUnavailableValues.DENY } = message;
  return {
    ...answerOf(message, featureId),
    source: (SourceValues[message.source] as Source | undefined) ?? `${message.source}`,
    onUnavailable: (OnUnavailableValues[onUnavailable] as OnUnavailable | undefined) ?? `${onUnavailable}`,
    failure: null,
  };
}

export function useFeatureAnswer(message: v1.UseFeatureResponse, featureId: string): UseFeatureAnswer {
  const { eventId, replayed } = message;
  return { ...answerOf(message, featureId), eventId, replayed };
}

export function createUsageEventAnswer(message: v1.CreateUsageEventResponse): CreateUsageEventAnswer {
  const { recorded, eventId, replayed } = message;
  return { recorded, ...stateOf(message), appliedDelta: Number(message.appliedDelta), eventId, replayed };
}

export function reserveAnswer(message: v1.ReserveResponse, featureId: string): ReserveAnswer {
  const { granted, leaseId, eventId, replayed } = message;
  return {
    ...answerOf({ ...message, access: granted > 0n }, featureId),
    granted: Number(granted),
    leaseId: leaseId || null,
    expiresAt: date(message.expiresAt),
    eventId,
    replayed,
  };
}

export function settleAnswer(message: v1.SettleResponse): SettleAnswer {
  const { recorded, late, eventId, replayed } = message;
  return { recorded, ...stateOf(message), late, eventId, replayed };
}

export function extendLeaseAnswer(message: v1.ExtendLeaseResponse): ExtendLeaseAnswer {
  const { extended, eventId, replayed } = message;
  const granted = Number(message.granted);
  return { extended, granted, expiresAt: date(message.expiresAt), ...stateOf(message), eventId, replayed };
}

export function entitlementOf(message: v1.Entitlement): Entitlement {
  const { subscriptionIds, grantIds, packageIds } = message;
  return { ...answerOf(message, message.featureId), subscriptionIds, grantIds, packageIds };
}

export function showUsageAnswer(message: v1.ShowUsageResponse): ShowUsageAnswer {
  return {
    current: consumptionOf(message.current),
    past: message.past.map(pastPeriodOf),
    sources: message.sources.map(({ subscriptionId, grantId, amount, left }) => ({
      subscriptionId,
      grantId,
      amount: amountOrNull(amount),
      left: amountOrNull(left),
    })),
  };
}

/** The time of a timestamp. */
export function date(timestamp: Timestamp | undefined): Date | null {
  return timestamp === undefined ? null : timestampDate(timestamp);
}

interface State {
  reason: ReasonValues;
  consumption?: v1.Consumption | undefined;
}

function stateOf({ reason, consumption }: State) {
  return {
    reason: (ReasonValues[reason] as Reason | undefined) ?? (`${reason}` as Reason),
    consumption: consumptionOf(consumption),
  };
}

function answerOf(message: State & { access: boolean; retryAfter?: Duration | undefined }, featureId: string): Answer {
  const retryAfterMs = message.retryAfter === undefined ? null : durationMs(message.retryAfter);
  return { access: message.access, ...stateOf(message), featureId, retryAfterMs };
}

function pastPeriodOf(message: v1.PastPeriod): PastPeriod {
  const { used, budget, drawnFromGrants, overage, summed, periodStart, periodEnd } = message;
  return {
    periodStart: date(periodStart) ?? new Date(0),
    periodEnd: date(periodEnd) ?? new Date(0),
    used: Number(used),
    budget: amountOrNull(budget),
    drawnFromGrants: Number(drawnFromGrants),
    overage: Number(overage),
    summed,
  };
}

function amountOrNull(amount: bigint | undefined): number | null {
  return amount === undefined ? null : Number(amount);
}
