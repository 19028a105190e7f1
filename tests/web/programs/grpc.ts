// Makes a read and a recording call with @grpc/grpc-js and the definitions in protos/, and prints what came of them.
//
// Arguments: the address of a server, an API key, the path of a service config, and the folder of the definitions.
import { readFileSync } from "node:fs";
import { promisify } from "node:util";

import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { fromBinary } from "@bufbuild/protobuf";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { ErrorInfoSchema, StatusSchema } from "canuse/v1";

const [address, key, serviceConfig, protos] = process.argv.slice(2) as [string, string, string, string];
const definitions = loadSync("canuse/v1/entitlement_service.proto", { includeDirs: [protos] });
const Client = grpc.makeClientConstructor(
  definitions["canuse.v1.EntitlementService"] as grpc.ServiceDefinition,
  "EntitlementService",
);
const client = new Client(address, grpc.credentials.createInsecure(), {
  "grpc.service_config": readFileSync(serviceConfig, "utf8"),
});
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${key}`);

function reasonOf(error: grpc.ServiceError): string {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  if (packed === undefined) return "";
  const infos = fromBinary(StatusSchema, packed as Buffer).details.map((detail) => anyUnpack(detail, ErrorInfoSchema));
  return infos.find((info) => info !== undefined)?.reason ?? "";
}

async function outcome(method: string, request: object) {
  const call = promisify(client[method]!.bind(client)) as (request: object, metadata: grpc.Metadata) => Promise<object>;
  try {
    return { code: 0, answer: await call(request, metadata) };
  } catch (error) {
    return { code: (error as grpc.ServiceError).code, reason: reasonOf(error as grpc.ServiceError) };
  }
}

const ids = { userId: process.argv[6] ?? "", featureId: process.argv[7] ?? "" };
console.log(JSON.stringify([await outcome("CanUse", ids), await outcome("UseFeature", ids)]));
client.close();
