// What a client answers to a check if the service does not: as its caller or the feature says.
import type { Answer, CanUseAnswer, Consumption, OnUnavailable, Reason } from "./answers.js";
import { badArgument, type CanuseError } from "./errors.js";

/** What to answer to checks of a feature while the service does not answer: no, yes, by the counts that this client last
 * saw, or nothing but the error. */
export type Fallback = "deny" | "allow" | "lastKnown" | "raise";

/** Maximum age of a last known answer, as on the server by default. */
const MAX_AGE_MS = 300_000;
/** Maximum number of last known answers; the oldest are evicted first. */
const MAX_ENTRIES = 10_000;
/** How long a check that has another answer is repeated. While nothing answers, the following ones are not repeated. */
const RETRY_MS = 500;
const ACCEPTED = "'deny', 'allow', 'lastKnown' or 'raise'";
const BY_NAME: Partial<Record<OnUnavailable, Fallback>> = { DENY: "deny", ALLOW: "allow", LAST_KNOWN: "lastKnown" };
const NAMES = { deny: "DENY", allow: "ALLOW", lastKnown: "LAST_KNOWN", raise: "UNSPECIFIED" } as const;
/** The reasons that depend on the amount. */
const COUNTED: ReadonlySet<Reason> = new Set<Reason>(["WITHIN_BUDGET", "UNLIMITED", "OVERAGE", "BUDGET_EXCEEDED"]);

interface Known {
  access: boolean;
  reason: Reason;
  consumption: Consumption | null;
  notedAt: number;
}

/** Whether a failure leaves the question open: the service was not reached, or could not answer in time. */
export function isNoAnswer({ code, reason }: CanuseError): boolean {
  return code === "UNAVAILABLE" || code === "DEADLINE_EXCEEDED" || reason === "OVERLOADED";
}

/** The answers of one client to checks that got none. */
export class Fallbacks {
  readonly #byFeature: ReadonlyMap<string, Fallback>;
  readonly #default: Fallback | undefined;
  readonly #heard = new Map<string, OnUnavailable>();
  readonly #known = new Map<string, Known>();
  #isReached = true;

  constructor(byFeature: Record<string, Fallback>, fallback: Fallback | undefined) {
    for (const [featureId, word] of Object.entries(byFeature)) check(`unavailable[${JSON.stringify(featureId)}]`, word);
    if (fallback !== undefined) check("unavailableDefault", fallback);
    this.#byFeature = new Map(Object.entries(byFeature));
    this.#default = fallback;
  }

  /** How long a check is repeated, in milliseconds. */
  retryMs(featureId: string): number {
    if (this.#of(featureId) === "raise") return Infinity;
    return this.#isReached ? RETRY_MS : 0;
  }

  /** Note what an answer says for the time without answers. */
  note(userId: string, answer: CanUseAnswer): void {
    if (this.#heard.size >= MAX_ENTRIES && !this.#heard.has(answer.featureId)) this.#heard.clear();
    this.#heard.set(answer.featureId, answer.onUnavailable);
    this.#isReached = true;
    if (answer.source === "STORE") this.noteCounts(userId, answer.featureId, answer.access, answer);
  }

  /** Note the state after a call, if it may be used as the last known one. */
  noteCounts(userId: string, featureId: string, access: boolean, state: Pick<Answer, "reason" | "consumption">): void {
    this.#isReached = true;
    if (this.#of(featureId) !== "lastKnown") return;
    const key = JSON.stringify([userId, featureId]);
    const { reason, consumption } = state;
    this.#known.delete(key);
    this.#known.set(key, { access, reason, consumption, notedAt: performance.now() });
    if (this.#known.size > MAX_ENTRIES) for (const oldest of this.#known.keys()) return void this.#known.delete(oldest);
  }

  /** The answer in place of one from the service; throws the error if there is none. */
  answer(userId: string, featureId: string, delta: bigint, failure: CanuseError): CanUseAnswer {
    const word = this.#of(featureId);
    if (word === "raise" || !isNoAnswer(failure)) throw failure;
    this.#isReached = false;
    const known = word === "lastKnown" ? this.#recall(userId, featureId) : undefined;
    return {
      access: known === undefined ? word === "allow" : allows(known, delta),
      reason: "STORE_UNAVAILABLE",
      consumption: known?.consumption ?? null,
      featureId,
      retryAfterMs: null,
      source: known === undefined ? "FALLBACK" : "LAST_KNOWN",
      onUnavailable: NAMES[word],
      failure,
    };
  }

  /** What applies to a feature. */
  #of(featureId: string): Fallback {
    const chosen = this.#byFeature.get(featureId) ?? this.#default;
    if (chosen !== undefined) return chosen;
    const heard = this.#heard.get(featureId);
    return heard === undefined ? "raise" : (BY_NAME[heard] ?? "deny");
  }

  #recall(userId: string, featureId: string): Known | undefined {
    const known = this.#known.get(JSON.stringify([userId, featureId]));
    return known !== undefined && performance.now() - known.notedAt <= MAX_AGE_MS ? known : undefined;
  }
}

function allows({ access, reason, consumption }: Known, delta: bigint): boolean {
  if (consumption === null || !COUNTED.has(reason)) return access;
  const { remaining, overageEnabled } = consumption;
  return remaining === null || overageEnabled || remaining >= delta;
}

function check(name: string, word: unknown): void {
  if (typeof word !== "string" || !Object.hasOwn(NAMES, word)) throw badArgument(name, word, ACCEPTED);
}
