// Calls methods of the client with the shape of Kana's admin SDK, and prints what each resolves to.
//
// Argument: a list of calls as JSON, each a list of the method, such as "features.list", and its arguments.
import { KanaAdmin, type KanaError, type Result } from "canuse/kana";

const errors: string[] = [];
const kana = new KanaAdmin({ apiKey: process.env["KANA_API_KEY"]!, onError: ({ name }) => errors.push(name) });
const outcomes: unknown[] = [];
for (const [path, ...values] of JSON.parse(process.argv[2]!) as [string, ...unknown[]][]) {
  const [group, method] = path.split(".") as [keyof KanaAdmin, string | undefined];
  const target = kana[group] as unknown as Record<string, (...values: unknown[]) => Promise<Result<unknown>>>;
  const { data, error } = await (method === undefined ? kana.users() : target[method]!(...values));
  outcomes.push(error ? { error: [error.name, (error as KanaError).message] } : { data });
}
console.log(JSON.stringify({ outcomes, errors }));
