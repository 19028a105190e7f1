// Users, their packages and their tokens.
import { create } from "@bufbuild/protobuf";
import { FieldMaskSchema } from "@bufbuild/protobuf/wkt";

import { type ChangePackageResponse, ChangeTiming, SubscriptionService } from "../gen/canuse/v1/subscription_service_pb.js";
import { type EnsureUserResponse, UserSchema, UserService } from "../gen/canuse/v1/user_service_pb.js";
import { text } from "./arguments.js";
import { date } from "./conversion.js";
import type { CallOptions, ChangePackageOptions, EnsureUserOptions } from "./options.js";
import { callOptions, lifetime, recording } from "./requests.js";
import { UsingCalls } from "./using.js";

export class Users extends UsingCalls {
  /**
   * Create a user or change the given fields, and subscribe the user to a package if the user has none. It is one step, and
   * safe to call at every sign-in.
   */
  async ensureUser(userId: string, options: EnsureUserOptions = {}): Promise<EnsureUserResponse> {
    const { name, email, billingId, metadata, disabled, packageId = "", ...rest } = options;
    const fields = { name, email, billingId, metadata, disabled };
    const given = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
    const paths = UserSchema.fields.filter(({ localName }) => localName in given).map((field) => field.name);
    const request = {
      user: { id: text("userId", userId), ...given },
      updateMask: create(FieldMaskSchema, { paths }),
      packageId: text("packageId", packageId),
    };
    return this.service(UserService).ensureUser(request, callOptions(rest));
  }

  /**
   * Change a user's base package in one step, now or at the end of the period. Usage, add-ons and grants stay.
   *
   * @returns The new subscription, those that it replaces, and whether anything `changed`.
   */
  async changePackage(
    userId: string,
    packageId: string,
    options: ChangePackageOptions = {},
  ): Promise<ChangePackageResponse> {
    const { atPeriodEnd = false } = options;
    const request = {
      userId: text("userId", userId),
      packageId: text("packageId", packageId),
      timing: atPeriodEnd ? ChangeTiming.PERIOD_END : ChangeTiming.NOW,
      ...recording(options),
    };
    return this.service(SubscriptionService).changePackage(request, callOptions(options));
  }

  /**
   * Generate a token with which a page or an app can read what this user may use, and nothing else: its `userToken`.
   *
   * @param options `ttlMs`: how long the token is valid, 1 minute to 30 days. Default: 1 hour.
   */
  async generateUserToken(
    userId: string,
    options: CallOptions & { ttlMs?: number } = {},
  ): Promise<{ token: string; expiresAt: Date }> {
    const request = { userId: text("userId", userId), ...lifetime(options.ttlMs) };
    const { token, expiresAt } = await this.service(UserService).generateUserToken(request, callOptions(options));
    return { token, expiresAt: date(expiresAt) ?? new Date(0) };
  }
}
