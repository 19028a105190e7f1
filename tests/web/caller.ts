// The types of the client from a caller's point of view: it compiles with the strictest options, and only with the errors
// that are expected.
import {
  AccessDenied,
  Canuse,
  CanuseError,
  throwIfDenied,
  type CanUseAnswer,
  type Consumption,
  type Entitlement,
  type ErrorReason,
  type Reason,
} from "canuse";
import { CatalogService, type EnsureUserResponse } from "canuse/v1";

const canuse = new Canuse({ url: "https://canuse.example.com", apiKey: "sk_live_x", retry: { budget: 10 } });

async function booleans(): Promise<void> {
  const yes: boolean = await canuse.canUse("124", "api-calls");
  const used: boolean = await canuse.useFeature("124", "api-calls", 3n, { eventId: "e", metadata: { job: "1" } });
  const recorded: boolean = await canuse.createUsageEvent("124", "api-calls", undefined, { action: "ADD" });
  console.log(yes, used, recorded);
  // @ts-expect-error: a promise is always true; without `await` everybody would pass.
  if (canuse.canUse("124", "api-calls")) console.log("may");
  // @ts-expect-error: the same.
  if (canuse.useFeature("124", "api-calls")) console.log("used");
  // @ts-expect-error: a boolean has no `access`; the details have.
  console.log((await canuse.canUse("124", "api-calls")).access);
}

async function answers(): Promise<void> {
  const answer: CanUseAnswer = await canuse.canUseDetails("124", "api-calls");
  const consumption: Consumption | null = answer.consumption;
  const reason: Reason = answer.reason;
  if (reason === "BUDGET_EXCEEDED") console.log(answer.retryAfterMs);
  // @ts-expect-error: there is no such reason.
  if (reason === "BUDGET_EXCEDED") console.log("never");
  // @ts-expect-error: a binary feature has no counts.
  console.log(answer.consumption.used);
  // @ts-expect-error: the budget is null if there is no limit.
  const budget: number = consumption?.budget ?? null;
  console.log(budget, throwIfDenied(answer).source);
}

async function leases(): Promise<void> {
  const lease = await canuse.reserve("124", "api-calls", 10);
  // @ts-expect-error: there is no lease if nothing was granted.
  await canuse.settle(lease.leaseId, 3);
  if (lease.leaseId !== null) await canuse.settle(lease.leaseId, 3);
  const length: number = await canuse.using("124", "api-calls", async (use) => `${use.eventId}`.length);
  const same: string = await canuse.using("124", "api-calls", 2, () => "done", { featureName: "calls", ttlMs: 5000 });
  console.log(length, same);
  // @ts-expect-error: the work comes after the amount.
  await canuse.using("124", "api-calls", () => "done", 2);
  const byId: Map<string, Entitlement> = await canuse.entitlements("124");
  // @ts-expect-error: the user may not have it.
  console.log(byId.get("sso").access);
}

async function errors(): Promise<void> {
  try {
    const ensured: EnsureUserResponse = await canuse.ensureUser("124", { packageId: "starter" });
    console.log(ensured.created, (await canuse.service(CatalogService).listFeatures({})).features.length);
  } catch (error) {
    if (error instanceof AccessDenied) console.log(error.message, error.answer.reason);
    if (error instanceof CanuseError) {
      const reason: ErrorReason | undefined = error.reason;
      const field: string | undefined = error.field;
      console.log(reason, field, error.retryAfterMs, error.eventId, error.code === "NOT_FOUND");
      // @ts-expect-error: there is no such status.
      console.log(error.code === "NOTFOUND");
    }
  }
}

// @ts-expect-error: ids are strings.
console.log(booleans, answers, leases, errors, canuse.canUse(124, "api-calls"));
// @ts-expect-error: there is no such option.
console.log(new Canuse({ adress: "https://canuse.example.com" }));
// @ts-expect-error: there is no such word.
console.log(new Canuse({ unavailable: { "api-calls": "maybe" } }));
