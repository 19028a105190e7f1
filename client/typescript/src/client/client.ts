// The client: the words of the Python clients, in camelCase.
import { UsageService } from "../gen/canuse/v1/usage_service_pb.js";
import type { Entitlement, ShowUsageAnswer } from "./answers.js";
import { text } from "./arguments.js";
import { entitlementOf, showUsageAnswer } from "./conversion.js";
import type { CallOptions, ListOptions } from "./options.js";
import { callOptions, ids } from "./requests.js";
import { Users } from "./users.js";

/** The maximum: for most users one call. */
const PAGE_SIZE = 1000;

/**
 * A client of canuse, for Node.js and browsers.
 *
 *     const canuse = new Canuse({ apiKey: "sk_live_…" });
 *     if (await canuse.useFeature("124", "api-calls")) …
 *
 * `canUse`, `useFeature` and `createUsageEvent` resolve to true or false; the same with `Details` at the end to the whole
 * answer, which is an object and therefore always true in a condition. Every method throws a CanuseError if the call
 * fails. Amounts are in the feature's units.
 */
export class Canuse extends Users {
  /** Iterate over a user's entitlements, one per feature, ordered by feature id. */
  async *listEntitlements(
    userId: string,
    options: ListOptions & { pageSize?: number } = {},
  ): AsyncGenerator<Entitlement, void, undefined> {
    const { includeLocked = false, pageSize = 50 } = options;
    for (let pageToken = ""; ; ) {
      const request = { userId: text("userId", userId), includeLocked, pageSize, pageToken };
      const page = await this.calls.listEntitlements(request, callOptions(options));
      yield* page.entitlements.map(entitlementOf);
      if (page.nextPageToken === "") return;
      pageToken = page.nextPageToken;
    }
  }

  /**
   * Get all of a user's entitlements, by feature id, in the order of the ids: what a page of prices or settings shows,
   * `entitlements.get("sso")?.access`.
   */
  async entitlements(userId: string, options: ListOptions = {}): Promise<Map<string, Entitlement>> {
    const found = new Map<string, Entitlement>();
    for await (const each of this.listEntitlements(userId, { ...options, pageSize: PAGE_SIZE })) {
      found.set(each.featureId, each);
    }
    return found;
  }

  /** Show a user's use of a consumable feature in the current period and in past periods. */
  async showUsage(
    userId: string,
    featureId: string,
    options: CallOptions = {},
  ): Promise<ShowUsageAnswer> {
    const response = await this.service(UsageService).showUsage(ids(userId, featureId), callOptions(options));
    return showUsageAnswer(response);
  }
}
