/** Owns what can go wrong: one tree of errors, told apart by class, by `name`, or by `reason`. */
import { status } from "@grpc/grpc-js";

/** The name of a gRPC status, for example `UNAVAILABLE`. */
export type StatusCode = Exclude<keyof typeof status, "OK">;

/** What is wrong with one field of a request. */
export interface FieldViolation {
  /** The path of the field in the request, for example `events[3].payload`. */
  readonly field: string;
  /** What was wrong and what would be right. */
  readonly description: string;
}

/** What an error says beyond its message: to make one, in a test of your own. */
export interface ErrorDetails {
  /** The gRPC status. */
  readonly code: StatusCode;
  /** The name of the contract's ErrorReason. */
  readonly reason?: string | undefined;
  /** The numbers that go with the reason. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** Which fields were invalid. */
  readonly fieldViolations?: readonly FieldViolation[] | undefined;
  /** Milliseconds to wait before a repetition. */
  readonly retryDelay?: number | undefined;
  /** What it comes from. */
  readonly cause?: unknown;
}

/**
 * The server refused a call, or could not be asked. `message` is for people; decide by class or by `reason`.
 *
 * After an append failed with anything but an `OutcomeUnknownError`, nothing was committed.
 */
export class FactstrError extends Error {
  override readonly name: string = "FactstrError";
  /** The gRPC status. */
  readonly code: StatusCode;
  /**
   * The name of the contract's ErrorReason, also one that this version does not know. `undefined` when the status came
   * without one: then something between here and the server made it, and it promises nothing.
   */
  readonly reason: string | undefined;
  /** The numbers that go with the reason. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Which fields were invalid: at most eight. */
  readonly fieldViolations: readonly FieldViolation[];
  /** How many milliseconds the server asks to wait before a repetition. */
  readonly retryDelay: number | undefined;

  /** Makes one: the client itself does, and a test may. */
  constructor(message: string, { code, reason, metadata, fieldViolations, retryDelay, cause }: ErrorDetails) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.reason = reason;
    this.metadata = metadata ?? {};
    this.fieldViolations = fieldViolations ?? [];
    this.retryDelay = retryDelay;
  }
}

/** The request breaks a law of the contract; it will never succeed as it is. */
export class InvalidRequestError extends FactstrError {
  override readonly name: "InvalidRequestError" | "BatchTooLargeError" = "InvalidRequestError";
}

/** The append holds too many events or bytes: split it. `metadata` has `limit_name`, `limit` and `actual`. */
export class BatchTooLargeError extends InvalidRequestError {
  override readonly name = "BatchTooLargeError";
}

/** The context's version is not the expected one. Read the context again, decide again, append again. */
export class ConditionalAppendConflictError extends FactstrError {
  override readonly name = "ConditionalAppendConflictError";
  /** The version that was expected, as sent; `undefined` when no fact was expected to match. */
  readonly expected: bigint | undefined;
  /** The version that the context has; `undefined` when no fact matches. */
  readonly actual: bigint | undefined;

  /** Makes one, with the expected and the actual version. */
  constructor(message: string, details: ErrorDetails, expected?: bigint, actual?: bigint) {
    super(message, details);
    this.expected = expected;
    this.actual = actual;
  }
}

/** The idempotency key belongs to an earlier, different request. */
export class IdempotencyKeyReusedError extends FactstrError {
  override readonly name = "IdempotencyKeyReusedError";
}

/** The server or its store does not answer now: try later. An append that failed with it was not committed. */
export class UnavailableError extends FactstrError {
  override readonly name: "UnavailableError" | "ServerBusyError" = "UnavailableError";
}

/** The server's queue is full, or the caller's quota is used up. */
export class ServerBusyError extends UnavailableError {
  override readonly name = "ServerBusyError";
}

/** The store has no room left. */
export class StoreFullError extends FactstrError {
  override readonly name = "StoreFullError";
}

/** The append may or may not have been committed. With its `idempotencyKey` it may be sent again as it was. */
export class OutcomeUnknownError extends FactstrError {
  override readonly name = "OutcomeUnknownError";
  /** The key that the append was sent with, given or made; `undefined` when it had none, because retries are off. */
  readonly idempotencyKey: string | undefined;

  /** Makes one, with the append's key. */
  constructor(message: string, details: ErrorDetails, idempotencyKey?: string) {
    super(message, details);
    this.idempotencyKey = idempotencyKey;
  }
}

/** A read took longer than its timeout. */
export class DeadlineExceededError extends FactstrError {
  override readonly name = "DeadlineExceededError";
}

/** The call carries no valid token or certificate. */
export class UnauthenticatedError extends FactstrError {
  override readonly name = "UnauthenticatedError";
}

/** The caller's role does not allow this call. `metadata` has `required_role`. */
export class PermissionDeniedError extends FactstrError {
  override readonly name = "PermissionDeniedError";
}

/** The server does not offer this call, or does not know a field of the request. */
export class NotImplementedError extends FactstrError {
  override readonly name = "NotImplementedError";
}

/** The position asked for is beyond the head: it is of another log, or this one lost its tail. */
export class CursorAheadOfLogError extends FactstrError {
  override readonly name = "CursorAheadOfLogError";
}

/**
 * The log is not the one that this stream began on: a failover or a restore lost its tail, or it is another store.
 * What was read from it may be no fact of this log: begin anew, from a position that both have.
 */
export class LogDivergedError extends FactstrError {
  override readonly name = "LogDivergedError";
}

/** Another consumer holds the durable stream's lease: wait for it with `waitForLease`. */
export class DurableStreamActiveError extends FactstrError {
  override readonly name = "DurableStreamActiveError";
}

/** The durable stream's name is bound to another query. */
export class QueryMismatchError extends FactstrError {
  override readonly name = "QueryMismatchError";
}

/** The durable stream was reset or deleted by force, or another consumer has taken it: this one is done. */
export class LeaseLostError extends FactstrError {
  override readonly name = "LeaseLostError";
}

/** There is no durable stream of this name. */
export class DurableStreamNotFoundError extends FactstrError {
  override readonly name = "DurableStreamNotFoundError";
}

/** The store, or the result, was closed: nothing was sent, or a read was cut off. */
export class StoreClosedError extends FactstrError {
  override readonly name = "StoreClosedError";
}

/** A defect of the server or its store. `metadata` may have an `error_id` that is also in the server's log. */
export class ServerError extends FactstrError {
  override readonly name = "ServerError";
}
