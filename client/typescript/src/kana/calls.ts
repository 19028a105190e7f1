// The calls of Kana's admin SDK: each is one operation of the server's Admin API of Kana.
import { KanaError } from "./errors.js";
import type { GraphQL } from "./graphql.js";
import type {
  Access,
  Feature,
  Metadata,
  NewFeature,
  NewPackage,
  NewUser,
  Package,
  Result,
  Subscription,
  Usage,
  User,
} from "./types.js";

const PLAIN_PACKAGE = "id name status isAddon updatedAt metadata";
const PLAIN_FEATURE = "id name type unitLabel unitLabelPlural metadata";
const FEATURE = `${PLAIN_FEATURE} packages { ${PLAIN_PACKAGE} }`;
const PACKAGE = `${PLAIN_PACKAGE} features { ${PLAIN_FEATURE} limit }`;
const CONSUMPTION = "consumption { used budget overageEnabled }";
const PERIOD = `periodStart periodEnd ${CONSUMPTION}`;
const USER = "id billingId name email metadata";
const SUBSCRIPTION = `id userId status package { ${PACKAGE} }`;

interface Use {
  userId: string;
  featureId: string;
  /** Default: 1. */
  delta?: number | string;
}

/** Kana's guides also name the feature `id`, and write numbers as texts. */
type LooseUse = Omit<Use, "featureId"> & ({ featureId: string } | { id: string });

function use({ delta, ...ids }: LooseUse) {
  const featureId = "featureId" in ids ? ids.featureId : ids.id;
  return { userId: ids.userId, featureId, ...(delta === undefined ? {} : { delta: Number(delta) }) };
}

export class Features {
  constructor(private readonly graphql: GraphQL) {}

  list(): Promise<Result<Feature[]>> {
    return this.graphql.run(`query { features { ${FEATURE} } }`);
  }

  create(input: NewFeature): Promise<Result<Feature>> {
    const operation = `mutation m($input: CreateFeatureInput!) { createFeature(input: $input) { ${FEATURE} } }`;
    return this.graphql.run(operation, { input });
  }

  update(change: { id: string; input: Partial<Omit<NewFeature, "id" | "type">> }): Promise<Result<Feature>> {
    const call = `updateFeature(id: $id, input: $input) { ${FEATURE} }`;
    return this.graphql.run(`mutation m($id: String!, $input: UpdateFeatureInput!) { ${call} }`, change);
  }

  canUse(asked: LooseUse): Promise<Result<Access>> {
    const call = `canUseFeature(userId: $userId, featureId: $featureId, delta: $delta) { access reason ${CONSUMPTION} }`;
    return this.graphql.run(`query q($userId: String!, $featureId: String!, $delta: Int) { ${call} }`, use(asked));
  }

  recordUsage({ action, ...used }: LooseUse & { action?: "ADD" | "SET" }): Promise<
    Result<{ recorded: boolean; reason: string | null }>
  > {
    const input = { ...use(used), ...(action === undefined ? {} : { action }) };
    const operation = "mutation m($input: CreateUsageEventInput!) { recordUsage(input: $input) { recorded reason } }";
    return this.graphql.run(operation, { input });
  }

  showUsage({ userId, featureId }: Use): Promise<Result<{ current: Usage | null; past: Usage[] | null }>> {
    const call = `showUsage(userId: $userId, featureId: $featureId) { current { ${PERIOD} } past { ${PERIOD} } }`;
    return this.graphql.run(`query q($userId: String!, $featureId: String!) { ${call} }`, { userId, featureId });
  }
}

export class Packages {
  constructor(private readonly graphql: GraphQL) {}

  retrieve({ id, includeFeatures = false }: { id: string; includeFeatures?: boolean }): Promise<Result<Package>> {
    const fields = includeFeatures ? PACKAGE : PLAIN_PACKAGE;
    return this.graphql.run(`query q($id: String!) { package(id: $id) { ${fields} } }`, { id });
  }

  list({ status = "PUBLISHED", includeFeatures = false }: { status?: string; includeFeatures?: boolean } = {}): Promise<
    Result<Package[]>
  > {
    const fields = includeFeatures ? PACKAGE : PLAIN_PACKAGE;
    return this.graphql.run(`query q($status: String!) { packages(status: $status) { ${fields} } }`, { status });
  }

  create(input: NewPackage): Promise<Result<Package>> {
    const operation = `mutation m($input: CreatePackageInput!) { createPackage(input: $input) { ${PACKAGE} } }`;
    return this.graphql.run(operation, { input });
  }

  update(change: { id: string; input: { metadata?: Metadata } }): Promise<Result<Package>> {
    const call = `updatePackage(id: $id, input: $input) { ${PACKAGE} }`;
    return this.graphql.run(`mutation m($id: String!, $input: UpdatePackageInput!) { ${call} }`, change);
  }
}

export class Users {
  constructor(private readonly graphql: GraphQL) {}

  list(): Promise<Result<User[]>> {
    return this.graphql.run(`query { users { ${USER} } }`);
  }

  retrieve({ id }: { id: string }): Promise<Result<User>> {
    return this.graphql.run(`query q($id: String!) { user(id: $id) { ${USER} } }`, { id });
  }

  /** Programs pass the fields themselves, as Kana's reference does, or as `input`. */
  create(user: NewUser | { input: NewUser }): Promise<Result<User>> {
    const operation = `mutation m($input: CreateUserInput!) { createUser(input: $input) { ${USER} } }`;
    return this.graphql.run(operation, { input: "input" in user ? user.input : user });
  }

  update(id: string, change: { id?: string; name?: string; metadata?: Metadata }): Promise<Result<User>> {
    const call = `updateUser(id: $id, input: $input) { ${USER} }`;
    const operation = `mutation m($id: String!, $input: UpdateUserInput!) { ${call} }`;
    return this.graphql.run(operation, { id, input: { id, ...change } });
  }

  /** The data is the token. */
  async generateToken({ userId }: { userId: string }): Promise<Result<string>> {
    const operation = "mutation m($userId: String!) { generateUserToken(userId: $userId) { token } }";
    const { data, error } = await this.graphql.run<{ token: string }>(operation, { userId });
    return error ? { error } : { data: data.token };
  }
}

export class Subscriptions {
  constructor(private readonly graphql: GraphQL) {}

  create(subscription: { packageIds: string[]; userId: string }): Promise<Result<Subscription[]>> {
    const call = `subscribe(packageIds: $packageIds, userId: $userId) { ${SUBSCRIPTION} }`;
    return this.graphql.run(`mutation m($packageIds: [String!]!, $userId: String!) { ${call} }`, subscription);
  }

  retrieve({ id }: { id: string }): Promise<Result<Subscription>> {
    return this.graphql.run(`query q($id: String!) { subscription(id: $id) { ${SUBSCRIPTION} } }`, { id });
  }

  list({ userId }: { userId?: string } = {}): Promise<Result<Subscription[]>> {
    const operation = `query q($userId: String) { subscriptions(userId: $userId) { ${SUBSCRIPTION} } }`;
    return this.graphql.run(operation, { userId });
  }
}

export class Payments {
  constructor(private readonly graphql: GraphQL) {}

  /** Always an error: canuse has no payment provider. */
  generateLink(_: { packageIds: string[] }): Promise<Result<{ url: string }>> {
    return this.graphql.fail(new KanaError("there is no payment provider that a link could lead to"));
  }
}
