/** Owns when a call may be repeated, how often, and after how long: decided by the reason of the failure. */
import { status } from "@grpc/grpc-js";

import { checkedInteger, checkedMilliseconds } from "./checks.js";
import {
  ConditionalAppendConflictError,
  DurableStreamActiveError,
  FactstrError,
  IdempotencyKeyReusedError,
  InvalidRequestError,
  OutcomeUnknownError,
} from "./errors.js";
import { errorFrom, type Failure, isKnown } from "./failure.js";

/** How often a failed call is repeated, and how many milliseconds it waits before. */
export interface Retries {
  /** At most so many repetitions (5); 0 repeats nothing, and then no idempotency keys are made either. */
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
  limit = 5,
  firstDelay = 50,
  longestDelay = 2_000,
}: Retries = {}): RetrySettings {
  return {
    limit: checkedInteger("retries.limit", limit),
    firstDelay: checkedMilliseconds("retries.firstDelay", firstDelay),
    longestDelay: checkedMilliseconds("retries.longestDelay", longestDelay),
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

/** What a repetition of a call could do. */
export type Effect =
  /** It only reads, or acknowledges: done again, it changes nothing. */
  | "none"
  /** It appends with an idempotency key, so a repetition commits nothing twice. */
  | "once"
  /** It appends without a key. */
  | "twice";

/** One call with its repetitions, within one deadline. */
export class Attempts {
  protected deadline: number | undefined;
  #repetitions = 0;
  /** Whether an attempt before may have committed, so that a later refusal does not say that nothing was. */
  #isInDoubt = false;

  /**
   * @param timeout milliseconds for all of it
   * @param endedLeases of the store's own durable streams: a server that still names one as active has only not noticed
   * yet, which is waited for until the deadline
   */
  constructor(
    private readonly retries: RetrySettings,
    timeout: number | undefined,
    private readonly effect: Effect,
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
    let error = errorFrom(failure, this.effect !== "none");
    if (this.#isInDoubt && !isJudgement(error)) {
      error = inDoubt(error);
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
    return this.#isInDoubt ? cutOff(reason) : reason;
  }

  /** Returns what it means that an attempt on its way was cut off, for a reason of the caller's. */
  cutOff(reason: unknown): unknown {
    return this.effect === "none" ? reason : cutOff(reason);
  }

  protected mayRepeat(error: FactstrError): boolean {
    if (isKnown(error.reason)) {
      return NOTHING_COMMITTED.has(error.reason) || (this.effect !== "twice" && AMBIGUOUS.has(error.reason));
    }
    return this.effect !== "twice" && PASSING.has(error.code);
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
    super({ ...retries, limit: Infinity }, undefined, "none");
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

/** Tells whether it is said of the append itself: that it was not committed before either, or that nobody knows. */
function isJudgement(error: FactstrError): boolean {
  return (
    error instanceof InvalidRequestError ||
    error instanceof ConditionalAppendConflictError ||
    error instanceof IdempotencyKeyReusedError ||
    error instanceof OutcomeUnknownError
  );
}

function inDoubt(error: FactstrError): OutcomeUnknownError {
  const { message, code, reason, metadata, retryDelay } = error;
  const details = { code, reason, metadata, retryDelay, cause: error };
  return new OutcomeUnknownError(`${message} (it may or may not have been committed before)`, details);
}

function cutOff(reason: unknown): OutcomeUnknownError {
  const why = reason instanceof Error ? reason.message : String(reason);
  return new OutcomeUnknownError(`${why} (it may or may not have been committed)`, {
    code: status[status.CANCELLED] as "CANCELLED",
    cause: reason,
  });
}
