// The messages, enums and services of canuse.v1, and those of google.rpc that its errors consist of.
export * from "./gen/canuse/v1/api_key_service_pb.js";
export * from "./gen/canuse/v1/audit_service_pb.js";
export * from "./gen/canuse/v1/catalog_service_pb.js";
export * from "./gen/canuse/v1/consumption_pb.js";
export * from "./gen/canuse/v1/entitlement_service_pb.js";
export * from "./gen/canuse/v1/explanation_pb.js";
export * from "./gen/canuse/v1/reason_pb.js";
export * from "./gen/canuse/v1/subscription_service_pb.js";
export * from "./gen/canuse/v1/usage_service_pb.js";
export * from "./gen/canuse/v1/user_service_pb.js";
export * from "./gen/google/rpc/error_details_pb.js";
export * from "./gen/google/rpc/status_pb.js";
