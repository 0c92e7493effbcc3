/** Owns access to the generated messages and stubs of the contract: `factstr.v1`. */
export * from "./generated/factstr/v1/durable_stream_service.js";
export * from "./generated/factstr/v1/errors.js";
export * from "./generated/factstr/v1/event.js";
export * from "./generated/factstr/v1/event_store_service.js";
export * from "./generated/factstr/v1/server_service.js";
export { Duration } from "./generated/google/protobuf/duration.js";
export { Timestamp } from "./generated/google/protobuf/timestamp.js";
