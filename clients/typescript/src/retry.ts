/** Owns when a call may be repeated, how often, and after how long: decided by the reason of the failure. */
import { checkedDelay, checkedInteger } from "./checks.js";
import {
  ConditionalAppendConflictError,
  DurableStreamActiveError,
  FactstrError,
  IdempotencyKeyReusedError,
  InvalidRequestError,
  OutcomeUnknownError,
} from "./errors.js";
import { type Appending, errorFrom, type Failure, isKnown } from "./failure.js";

/** How often a failed call is repeated, and how many milliseconds it waits before. */
export interface Retries {
  /** At most so many repetitions (20, about as long as the timeout); 0 repeats nothing, and then no idempotency keys are made either. */
  readonly limit?: number | undefined;
  /** Before the first repetition (50); doubled each time. Half of each delay is random. */
  readonly firstDelay?: number | undefined;
  /** Up to this (2,000). */
  readonly longestDelay?: number | undefined;
}

/** Retries as they are meant, with nothing left out. */
export type RetrySettings = { readonly [Name in keyof Retries]-?: number };

/** Returns the settings with their defaults. Throws a RangeError for what can be none. */
export function retrySettings({
  limit = 20,
  firstDelay = 50,
  longestDelay = 2_000,
}: Retries = {}): RetrySettings {
  return {
    limit: checkedInteger("retries.limit", limit),
    firstDelay: checkedDelay("retries.firstDelay", firstDelay),
    longestDelay: checkedDelay("retries.longestDelay", longestDelay),
  };
}

/** Reasons that promise that nothing was committed and that may pass: safe to repeat for every call. */
const NOTHING_COMMITTED: ReadonlySet<string> = new Set([
  "SERVER_BUSY",
  "SERVER_DRAINING",
  "STORE_UNAVAILABLE",
]);

/** Reasons, and where there is no known one the statuses below, that may pass but promise nothing. */
const AMBIGUOUS: ReadonlySet<string> = new Set(["APPEND_OUTCOME_UNKNOWN", "INTERNAL"]);
const PASSING: ReadonlySet<string> = new Set([
  "UNAVAILABLE",
  "DEADLINE_EXCEEDED",
  "CANCELLED",
  "UNKNOWN",
  "INTERNAL",
]);

const FIRST_CONFLICT_DELAY = 10;
const LONGEST_CONFLICT_DELAY = 500;

/**
 * Returns how many milliseconds to wait after a conflict, counted from 0. All of it is random: those who lost to the
 * same competitor must not meet again, and nothing needs to recover.
 */
export function conflictDelay(repetition: number): number {
  return Math.random() * Math.min(LONGEST_CONFLICT_DELAY, FIRST_CONFLICT_DELAY * 2 ** repetition);
}

/** One call with its repetitions, within one deadline. */
export class Attempts {
  protected deadline: number | undefined;
  #repetitions = 0;
  /** Whether an attempt before may have committed, so that a later refusal does not say that nothing was. */
  #isInDoubt = false;

  /**
   * @param timeout milliseconds for all of it
   * @param appending the append that it is; `undefined` for what only reads or acknowledges. Done again, that changes
   * nothing, and an append with a key does not either
   * @param endedLeases of the store's own durable streams: a server that still names one as active has only not noticed
   * yet, which is waited for until the deadline
   */
  constructor(
    private readonly retries: RetrySettings,
    timeout: number | undefined,
    private readonly appending?: Appending,
    private readonly endedLeases: ReadonlySet<string> = new Set(),
  ) {
    this.deadline = timeout === undefined ? undefined : performance.now() + timeout;
  }

  /** Returns the milliseconds that the next attempt has; infinite when there is no deadline. */
  remaining(): number {
    return this.left();
  }

  /** Returns the milliseconds until the deadline. */
  protected left(): number {
    return this.deadline === undefined ? Infinity : Math.max(0, this.deadline - performance.now());
  }

  /** Returns how many milliseconds to wait before the next attempt; throws the error when there is none. */
  delayAfter(failure: Failure): number {
    let error = errorFrom(failure, this.appending);
    if (this.#isInDoubt && !isJudgement(error)) {
      error = inDoubt(error, this.appending);
    }
    const mayRepeat = this.#repetitions < this.retries.limit && this.mayRepeat(error);
    if (!mayRepeat && !this.#isOfOwnEndedLease(error)) {
      throw error;
    }
    const delay = Math.max(this.#delay(), error.retryDelay ?? 0);
    if (delay >= this.left()) {
      throw error;
    }
    this.#repetitions += 1;
    this.#isInDoubt = error instanceof OutcomeUnknownError;
    return delay;
  }

  /** Returns what it means that no further attempt is sent, for a reason of the caller's. */
  notSent(reason: unknown): unknown {
    return this.#isInDoubt ? this.cutOff(reason) : reason;
  }

  /** Returns what it means that an attempt on its way was cut off, for a reason of the caller's. */
  cutOff(reason: unknown): unknown {
    if (this.appending === undefined) {
      return reason;
    }
    const why = reason instanceof Error ? reason.message : String(reason);
    const details = { code: "CANCELLED", cause: reason } as const;
    const message = `${why} (it may or may not have been committed)`;
    return new OutcomeUnknownError(message, details, this.appending.idempotencyKey);
  }

  protected mayRepeat(error: FactstrError): boolean {
    const isHarmless = this.appending === undefined || this.appending.idempotencyKey !== undefined;
    if (isKnown(error.reason)) {
      return NOTHING_COMMITTED.has(error.reason) || (isHarmless && AMBIGUOUS.has(error.reason));
    }
    return isHarmless && PASSING.has(error.code);
  }

  #delay(): number {
    const { firstDelay, longestDelay } = this.retries;
    const longest = Math.min(longestDelay, firstDelay * 2 ** this.#repetitions);
    // Half of it at random, so that callers who failed together do not come back together.
    return longest * (0.5 + Math.random() / 2);
  }

  #isOfOwnEndedLease(error: FactstrError): boolean {
    return (
      error instanceof DurableStreamActiveError && this.endedLeases.has(error.metadata["lease_epoch"] ?? "")
    );
  }
}

/**
 * A call that belongs to a stream: repeated for as long as it takes, or `giveUpAfter` milliseconds of failing. Each
 * attempt has `timeout` milliseconds. A defect of the server ends it: nobody waits for ever, in silence, for one to pass.
 */
export class LastingAttempts extends Attempts {
  constructor(
    retries: RetrySettings,
    private readonly timeout: number,
    private readonly giveUpAfter: number | undefined,
  ) {
    super({ ...retries, limit: Infinity }, undefined);
  }

  override remaining(): number {
    return Math.min(this.timeout, this.left());
  }

  override delayAfter(failure: Failure): number {
    if (this.deadline === undefined && this.giveUpAfter !== undefined) {
      this.deadline = performance.now() + this.giveUpAfter;
    }
    return super.delayAfter(failure);
  }

  protected override mayRepeat(error: FactstrError): boolean {
    return error.reason !== "INTERNAL" && super.mayRepeat(error);
  }
}

/**
 * Tells whether it is said of the append itself: that it was not committed before either, or that nobody knows. A reason
 * that this version does not know may say anything.
 */
function isJudgement(error: FactstrError): boolean {
  return (
    error instanceof OutcomeUnknownError ||
    (isKnown(error.reason) &&
      (error instanceof InvalidRequestError ||
        error instanceof ConditionalAppendConflictError ||
        error instanceof IdempotencyKeyReusedError))
  );
}

function inDoubt(error: FactstrError, appending: Appending | undefined): OutcomeUnknownError {
  const { message, code, reason, metadata, fieldViolations, retryDelay } = error;
  const details = { code, reason, metadata, fieldViolations, retryDelay, cause: error };
  const doubt = `${message} (it may or may not have been committed before)`;
  return new OutcomeUnknownError(doubt, details, appending?.idempotencyKey);
}
