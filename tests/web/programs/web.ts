// Calls from a page, with @connectrpc/connect-web.
import { createConnectTransport } from "@connectrpc/connect-web";

import { call, type Call, type Options } from "./calls.js";

function callFromPage(options: Options, one: Call) {
  return call((interceptors) => createConnectTransport({ ...options, useHttpGet: true, interceptors }), options, one);
}

Object.assign(globalThis, { callFromPage });
