// Makes calls of the client as a test says, with arguments and outcomes as JSON.
import { create } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { AccessDenied, Canuse, CanuseError, throwIfDenied, type Options, type Use, type UsingOptions } from "canuse";
import { BatchUseFeatureRequestSchema, CatalogService, EntitlementService, UsageService } from "canuse/v1";

export interface Work {
  /** The amount that was really used. */
  delta?: number;
  /** What the work throws, if anything. */
  fails?: string;
  /** A call that the work makes. */
  calls?: [method: string, ...values: unknown[]];
}

type Method = (...values: unknown[]) => Promise<unknown>;
type WorkMethod = (user: string, feature: string, delta: number, work: (use: Use) => unknown, options?: UsingOptions) => unknown;

export class Driver {
  #client!: Canuse;
  #load: Promise<void>[] = [];
  #stop = new AbortController();
  #answered = 0;
  #errors: string[] = [];

  constructor(private readonly grpc?: (address: string) => Transport) {}

  /** Create the client; `grpcAddress` is where it calls by gRPC. */
  open({ grpcAddress, ...options }: Options & { grpcAddress?: string }): void {
    this.#client = new Canuse(grpcAddress ? { ...options, transport: this.grpc!(grpcAddress) } : options);
  }

  /** Create a client that asks for the token of each request. */
  openWithTokens(options: Options, tokens: string[]): void {
    this.#client = new Canuse({ ...options, userToken: async () => tokens.shift() ?? "" });
  }

  /** End the open leases of a user, as their expiry would. */
  async settleOpenLeases(userId: string): Promise<void> {
    const { leases } = await this.#client.service(UsageService).listLeases({ userId });
    for (const { id } of leases) await this.#client.settle(id, 0);
  }

  /** What a method of this class or of the client comes to: its value, or its error. */
  async run(method: string, ...values: unknown[]): Promise<unknown> {
    try {
      const own = method in this;
      const target = (own ? this : this.#client) as unknown as Record<string, Method>;
      return { value: plain(await target[method]!(...values)) };
    } catch (failure) {
      return { error: described(failure) };
    }
  }

  /** Use a feature for a piece of work; return what both say. */
  async using(userId: string, featureId: string, delta: number, work: Work, options?: UsingOptions): Promise<unknown> {
    let seen: unknown;
    const call = this.#client.using.bind(this.#client) as WorkMethod;
    const result = await call(userId, featureId, delta, async (use) => {
      const [method, ...values] = work.calls ?? [];
      seen = { ...use, inside: method === undefined ? null : await this.run(method, ...values) };
      if (work.fails) throw new Error(work.fails);
      if (work.delta !== undefined) use.delta = work.delta;
      return "done";
    }, options);
    return { result, use: seen };
  }

  /** Items of a list, of pages of a size. */
  async list(userId: string, pageSize: number): Promise<string[]> {
    const found: string[] = [];
    for await (const { featureId } of this.#client.listEntitlements(userId, { pageSize })) found.push(featureId);
    return found;
  }

  /** The same batch, sent twice. */
  async batchTwice(userId: string, featureId: string): Promise<void> {
    const use = { userId, featureId };
    const batch = create(BatchUseFeatureRequestSchema, { requests: [use, use] });
    const entitlements = this.#client.service(EntitlementService);
    for (let count = 0; count < 2; count++) await entitlements.batchUseFeature(batch);
  }

  /** A change without an event id. */
  async archive(featureId: string): Promise<void> {
    await this.#client.service(CatalogService).archiveFeature({ featureId });
  }

  /** A stream, to its end. */
  async migrate(packageId: string): Promise<number> {
    let messages = 0;
    for await (const _ of this.#client.service(CatalogService).migrateSubscriptions({ packageId })) messages += 1;
    return messages;
  }

  /** The sentence about a denied answer. */
  async denial(answer: Parameters<typeof throwIfDenied>[0], featureName?: string): Promise<unknown> {
    return throwIfDenied(answer, featureName);
  }

  /** A call whose caller aborts it after a time. */
  async aborted(delayMs: number, method: "canUse" | "useFeature", userId: string, featureId: string): Promise<unknown> {
    const controller = new AbortController();
    const reason = new Error("the caller does not wait");
    setTimeout(() => controller.abort(reason), delayMs);
    return this.#client[method](userId, featureId, 1, { signal: controller.signal });
  }

  /** Start tasks that use a feature again and again, in the three ways that record. */
  startLoad(userId: string, featureId: string, tasks: number): void {
    const client = this.#client;
    const ways = [
      () => client.useFeature(userId, featureId),
      () => client.createUsageEvent(userId, featureId),
      () => client.using(userId, featureId, () => true),
    ];
    const work = async (way: () => Promise<boolean>) => {
      while (!this.#stop.signal.aborted) {
        try {
          if (await way()) this.#answered += 1;
        } catch (failure) {
          this.#errors.push(String(failure));
          return;
        }
      }
    };
    this.#load = Array.from({ length: tasks }, (_, index) => work(ways[index % ways.length]!));
  }

  answered(): { answered: number; errors: string[] } {
    return { answered: this.#answered, errors: this.#errors };
  }

  async stopLoad(): Promise<unknown> {
    this.#stop.abort();
    await Promise.all(this.#load);
    return this.answered();
  }
}

function described(failure: unknown): object {
  if (failure instanceof AccessDenied) return { name: failure.name, message: failure.message, answer: plain(failure.answer) };
  if (!(failure instanceof CanuseError)) return { name: (failure as Error).name, message: (failure as Error).message };
  const { name, message, code, reason, field, violations, metadata, retryAfterMs, eventId } = failure;
  return { name, message, code, reason, field, violations, metadata, retryAfterMs, eventId };
}

/** A value as JSON has it. */
function plain(value: unknown): unknown {
  if (value instanceof Map) return [...value].map(([key, each]) => [key, plain(each)]);
  const text = JSON.stringify(value, (_, each: unknown) => {
    if (each instanceof CanuseError) return described(each);
    return typeof each === "bigint" ? `${each}n` : each;
  });
  return text === undefined ? null : JSON.parse(text);
}
