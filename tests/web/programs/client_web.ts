// Runs methods of the client in a page.
import { Driver } from "./driver.js";

const driver = new Driver();
Object.assign(globalThis, { run: (method: string, ...values: unknown[]) => driver.run(method, ...values) });
