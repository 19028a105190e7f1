// The page of docs/openfeature.md, and OpenFeature's SDK without React beside it.
import { OpenFeature } from "@openfeature/react-sdk";
import { createRoot } from "react-dom/client";

import { connect, Messages } from "documented";

async function show(baseUrl: string, userId: string, token: string) {
  await connect(baseUrl, userId, async () => token);
  createRoot(document.getElementById("page")!).render(<Messages />);
}

async function details(flagKey: string) {
  const { value, variant, reason, errorCode, flagMetadata } = OpenFeature.getClient().getBooleanDetails(flagKey, true);
  return { value, variant, reason, errorCode, flagMetadata };
}

Object.assign(globalThis, { show, details });
