// The errors of Kana's admin SDK. They are results, never thrown.

export class KanaError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}
export class AuthenticationError extends KanaError {}
export class FeatureNotFoundError extends KanaError {}
export class NetworkError extends KanaError {}
export class PackageNotFoundError extends KanaError {}
export class SubscriptionError extends KanaError {}
export class SubscriptionNotFoundError extends KanaError {}
export class UserNotFoundError extends KanaError {}

const classes: Record<string, typeof KanaError> = {
  AuthenticationError,
  FeatureNotFoundError,
  NetworkError,
  PackageNotFoundError,
  SubscriptionError,
  SubscriptionNotFoundError,
  UserNotFoundError,
};

/** An error as GraphQL answers it, with the name that the server gives it. */
export interface GraphQLError {
  message: string;
  extensions?: { exception?: { name?: string } };
}

/** The error for an answer that has one, or has no data at all. */
export function errorOf(errors: GraphQLError[] | undefined, status: number): KanaError {
  const [first] = errors ?? [];
  if (first === undefined) return new KanaError(`the server answered with status ${status}`);
  return new (classes[first.extensions?.exception?.name ?? ""] ?? KanaError)(first.message);
}
