// Runs the methods that come as lines of JSON on stdin, each a list of a method and its arguments; prints each outcome.
import { createInterface } from "node:readline";

import { createGrpcTransport } from "@connectrpc/connect-node";

import { Driver } from "./driver.js";

const driver = new Driver((address) => createGrpcTransport({ baseUrl: `http://${address}` }));
for await (const line of createInterface({ input: process.stdin })) {
  const [method, ...values] = JSON.parse(line) as [string, ...unknown[]];
  console.log(JSON.stringify(await driver.run(method, ...values)));
}
