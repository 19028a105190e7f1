// The services that set the clock of a server that runs with `--clock manual`, and reset its store.
export * from "./gen/canuse/testing/v1/clock_service_pb.js";
export * from "./gen/canuse/testing/v1/store_service_pb.js";
