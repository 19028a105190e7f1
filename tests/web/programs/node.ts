// Makes the calls given as an argument, with @connectrpc/connect-node, and prints what came of each.
import { createConnectTransport } from "@connectrpc/connect-node";

import { call, type Call, type Options } from "./calls.js";

const { options, calls } = JSON.parse(process.argv[2]!) as { options: Options; calls: Call[] };
const outcomes: unknown[] = [];
for (const one of calls) {
  outcomes.push(
    await call(
      (interceptors) => createConnectTransport({ ...options, httpVersion: "1.1", useHttpGet: true, interceptors }),
      options,
      one,
    ),
  );
}
console.log(JSON.stringify(outcomes));
