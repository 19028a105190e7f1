// The service that sets the clock of a server that runs with `--clock manual`.
export * from "./gen/canuse/testing/v1/clock_service_pb.js";
