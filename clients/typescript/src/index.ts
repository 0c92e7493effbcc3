/**
 * The client of the FACTSTR event store.
 *
 *     import { connect } from "@factstr/client";
 *
 *     await using store = connect("localhost:50051");
 *     await store.append({ eventType: "tool-registered", payload: { tool: { id: "drill-1" } } });
 *
 * @packageDocumentation
 */
export type { FollowOptions, WaitOptions } from "./batch-stream.js";
export type { Stubs } from "./calls.js";
export type { SequenceNumber } from "./checks.js";
export type { ConnectOptions, TlsFiles } from "./connection.js";
export type { DurableBatch, DurableOptions } from "./consuming.js";
export type { DurableStream, Handler } from "./durable-stream.js";
export * from "./errors.js";
export type { AppendResult, Context, EventRecord, NewEvent, NewEvents } from "./event.js";
export type { CommittedBatch } from "./following.js";
export { JsonText, type JsonValue } from "./json.js";
export { type EventQuery, everything, type Selection, where } from "./query.js";
export type { QueryResult } from "./query-result.js";
export type { ResultRange } from "./reading.js";
export type { Retries } from "./retry.js";
export {
  type AppendOptions,
  type CallOptions,
  connect,
  type DecideOptions,
  type DurableStreamOptions,
  type EventStore,
  type LiveStream,
  type ProjectOptions,
  type QueryOptions,
  type StreamOptions,
} from "./store.js";
