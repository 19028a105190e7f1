// Calls canuse from a page with @connectrpc/connect-web.
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";

import { EntitlementService } from "canuse/v1/entitlement_service_pb";
import { Reason } from "canuse/v1/reason_pb";

async function canUse(baseUrl: string, userId: string, featureId: string) {
  const client = createClient(EntitlementService, createConnectTransport({ baseUrl }));
  const answer = await client.canUse({ userId, featureId });
  return { access: answer.access, reason: Reason[answer.reason], used: String(answer.consumption?.used) };
}

Object.assign(globalThis, { canUse });
