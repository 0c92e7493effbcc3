/** Owns the way from a gRPC status to the error that it means. */
import { Metadata, status } from "@grpc/grpc-js";

import {
  BatchTooLargeError,
  ConditionalAppendConflictError,
  CursorAheadOfLogError,
  DeadlineExceededError,
  DurableStreamActiveError,
  DurableStreamNotFoundError,
  type ErrorDetails,
  FactstrError,
  IdempotencyKeyReusedError,
  InvalidRequestError,
  LeaseLostError,
  LogDivergedError,
  NotImplementedError,
  OutcomeUnknownError,
  PermissionDeniedError,
  QueryMismatchError,
  ServerBusyError,
  ServerError,
  type StatusCode,
  StoreFullError,
  UnauthenticatedError,
  UnavailableError,
} from "./errors.js";
import { ConditionalAppendConflict } from "./generated/factstr/v1/errors.js";
import { BadRequest, ErrorInfo, RetryInfo } from "./generated/google/rpc/error_details.js";
import { Status } from "./generated/google/rpc/status.js";
import { milliseconds } from "./milliseconds.js";

/** What it means of a failed call that it appends: with which key, given or made, if with any. */
export interface Appending {
  readonly idempotencyKey: string | undefined;
}

/** How a call has ended: what gRPC's `ServiceError` and its status have in common. */
export interface Failure {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

type Kind = new (message: string, details: ErrorDetails) => FactstrError;

const BY_REASON: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ["EMPTY_APPEND", InvalidRequestError],
  ["INVALID_EVENT_TYPE", InvalidRequestError],
  ["INVALID_PAYLOAD", InvalidRequestError],
  ["INVALID_PREDICATE", InvalidRequestError],
  ["INVALID_METADATA", InvalidRequestError],
  ["INVALID_ARGUMENT", InvalidRequestError],
  ["BATCH_TOO_LARGE", BatchTooLargeError],
  ["UNSUPPORTED_FIELD", NotImplementedError],
  ["CONDITIONAL_APPEND_CONFLICT", ConditionalAppendConflictError],
  ["IDEMPOTENCY_KEY_REUSED", IdempotencyKeyReusedError],
  ["DURABLE_STREAM_ACTIVE", DurableStreamActiveError],
  ["DURABLE_STREAM_QUERY_MISMATCH", QueryMismatchError],
  ["DURABLE_STREAM_LEASE_LOST", LeaseLostError],
  ["DURABLE_STREAM_NOT_FOUND", DurableStreamNotFoundError],
  ["CURSOR_AHEAD_OF_LOG", CursorAheadOfLogError],
  ["LOG_DIVERGED", LogDivergedError],
  ["SERVER_BUSY", ServerBusyError],
  ["QUOTA_EXCEEDED", ServerBusyError],
  ["STORE_FULL", StoreFullError],
  ["STORE_UNAVAILABLE", UnavailableError],
  ["SERVER_DRAINING", UnavailableError],
  ["APPEND_OUTCOME_UNKNOWN", OutcomeUnknownError],
  ["STORE_CORRUPT", ServerError],
  ["UNAUTHENTICATED", UnauthenticatedError],
  ["PERMISSION_DENIED", PermissionDeniedError],
  ["NOT_IMPLEMENTED", NotImplementedError],
  ["INTERNAL", ServerError],
]);

const BY_CODE: ReadonlyMap<status, Kind> = new Map<status, Kind>([
  [status.INVALID_ARGUMENT, InvalidRequestError],
  [status.UNAVAILABLE, UnavailableError],
  [status.RESOURCE_EXHAUSTED, UnavailableError],
  [status.DEADLINE_EXCEEDED, DeadlineExceededError],
  [status.UNAUTHENTICATED, UnauthenticatedError],
  [status.PERMISSION_DENIED, PermissionDeniedError],
  [status.UNIMPLEMENTED, NotImplementedError],
  [status.INTERNAL, ServerError],
  [status.UNKNOWN, ServerError],
  [status.DATA_LOSS, ServerError],
]);

/** Statuses after which an append may have been committed, when no known reason says otherwise. */
const PROMISING_NOTHING: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.RESOURCE_EXHAUSTED,
  status.DEADLINE_EXCEEDED,
  status.CANCELLED,
  status.INTERNAL,
  status.UNKNOWN,
  status.DATA_LOSS,
]);

/** Tells whether this version decides by the reason; any other is treated by its status. */
export function isKnown(reason: string | undefined): reason is string {
  return reason !== undefined && BY_REASON.has(reason);
}

/** Tells whether gRPC has thrown it. */
export function isFailure(thrown: unknown): thrown is Failure {
  return (
    thrown instanceof Error && "code" in thrown && "metadata" in thrown && thrown.metadata instanceof Metadata
  );
}

/** A failure that the client has noticed itself: by default as good as a lost connection. */
export class Interrupted extends Error implements Failure {
  readonly metadata = new Metadata();

  constructor(
    readonly details: string,
    readonly code = status.UNAVAILABLE,
  ) {
    super(details);
  }
}

/** Returns the error for a failed call; of an append it matters whether it may have been committed. */
export function errorFrom(failure: Failure, appending: Appending | undefined): FactstrError {
  const details = detailsOf(failure);
  const info = find(details, "google.rpc.ErrorInfo", ErrorInfo);
  const isOurs = info?.domain === "factstr" && info.reason !== "";
  const reason = isOurs ? info.reason : undefined;
  const asked = find(details, "google.rpc.RetryInfo", RetryInfo)?.retryDelay;
  const delay = asked === undefined ? 0 : milliseconds(asked);
  const code = (failure.code in status ? status[failure.code] : "UNKNOWN") as StatusCode;
  const message = failure.details || code;
  const said: ErrorDetails = {
    code,
    reason,
    metadata: isOurs ? info.metadata : undefined,
    fieldViolations: find(details, "google.rpc.BadRequest", BadRequest)?.fieldViolations.map(
      ({ field, description }) => ({ field, description }),
    ),
    retryDelay: delay > 0 ? delay : undefined,
  };
  const known = reason === undefined ? undefined : BY_REASON.get(reason);
  if (known === ConditionalAppendConflictError) {
    const conflict = find(details, "factstr.v1.ConditionalAppendConflict", ConditionalAppendConflict);
    const { expectedContextVersion: expected, actualContextVersion: actual } = conflict ?? {};
    return new ConditionalAppendConflictError(message, said, expected, actual);
  }
  const isOpen = known ? known === ServerError : reason === undefined || PROMISING_NOTHING.has(failure.code);
  if (appending !== undefined && isOpen) {
    const doubt = `${message} (${code}; it may or may not have been committed)`;
    return new OutcomeUnknownError(doubt, said, appending.idempotencyKey);
  }
  return new (known ?? BY_CODE.get(failure.code) ?? FactstrError)(message, said);
}

type Details = Status["details"];

/** Returns the details trailer's; none when there is none, it is of another status, or something has damaged it. */
function detailsOf(failure: Failure): Details {
  const [trailer] = failure.metadata.get("grpc-status-details-bin");
  const decodedStatus = Buffer.isBuffer(trailer) ? decoded(Status, trailer) : undefined;
  return decodedStatus?.code === failure.code ? decodedStatus.details : [];
}

function find<T>(details: Details, type: string, message: { decode(bytes: Uint8Array): T }): T | undefined {
  const packed = details.find(({ typeUrl }) => typeUrl.endsWith(`/${type}`));
  return packed && decoded(message, packed.value);
}

function decoded<T>(message: { decode(bytes: Uint8Array): T }, bytes: Uint8Array): T | undefined {
  try {
    return message.decode(bytes);
  } catch {
    return undefined;
  }
}
