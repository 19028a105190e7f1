// Asks canuse from a page with Kana's own client.
import { KanaUserClient, type KanaUserClientConfig } from "@usekana/client-kana-js";

let client: KanaUserClient;
let failures: string[];

function open(config: KanaUserClientConfig) {
  failures = [];
  client = new KanaUserClient({ ...config, onError: (error: Error) => void failures.push(error.message) });
}

async function call(name: "canUseFeature" | "getSubscribedFeatures" | "getSubscribedPackages", featureId: string) {
  const { data, error } = await client[name](featureId);
  return error ? { error: error.message } : { data };
}

async function resetCache() {
  await client.resetCache();
  return failures;
}

Object.assign(globalThis, { openKana: open, callKana: call, resetKana: resetCache });
