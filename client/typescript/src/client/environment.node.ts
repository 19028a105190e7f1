// What a client takes from its surroundings in Node.js.
import type { Environment } from "./environment.js";

declare const process: { env: Record<string, string | undefined> };

// An empty variable is one that is not set.
export const read = (): Environment => ({
  url: process.env["CANUSE_URL"] || "http://127.0.0.1:50052",
  apiKey: process.env["CANUSE_API_KEY"] || undefined,
});
