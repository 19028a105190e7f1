// A client with the shape of Kana's admin SDK, for programs that were written for that.
import { Features, Packages, Payments, Subscriptions, Users } from "./calls.js";
import { GraphQL, type Options } from "./graphql.js";
import type { Result, User } from "./types.js";

export * from "./errors.js";
export type { Options } from "./graphql.js";
export type * from "./types.js";

/**
 * Kana's admin SDK, with canuse in place of Kana. Every method resolves to `{ data }` or `{ error }`.
 *
 *     const kana = new KanaAdmin({ apiKey: process.env.KANA_API_KEY });
 *     const { data, error } = await kana.features.canUse({ userId: "124", featureId: "api-calls" });
 */
export class KanaAdmin {
  readonly features: Features;
  readonly packages: Packages;
  readonly users: Users & (() => Promise<Result<User[]>>);
  readonly subscriptions: Subscriptions;
  readonly payments: Payments;

  constructor(options: Options) {
    const graphql = new GraphQL(options);
    const users = new Users(graphql);
    this.features = new Features(graphql);
    this.packages = new Packages(graphql);
    // Kana's reference lists users by `client.users()`.
    this.users = Object.setPrototypeOf(() => users.list(), users);
    this.subscriptions = new Subscriptions(graphql);
    this.payments = new Payments(graphql);
  }
}
