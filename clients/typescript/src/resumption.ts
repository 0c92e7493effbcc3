/** Owns when an interrupted stream is taken up again, after how long, and how long a silence is an interruption. */
import { status } from "@grpc/grpc-js";
import type { Connection } from "./connection.js";
import type { Failure } from "./failure.js";
import type { Duration } from "./generated/google/protobuf/duration.js";
import { milliseconds } from "./milliseconds.js";
import { Attempts, LastingAttempts } from "./retry.js";

const HEARTBEATS_MISSED = 3;
/** Milliseconds beyond the heartbeats, for a server, a network or a caller's machine that is busy. */
const GRACE = 5_000;
/** Milliseconds between the messages of a server that has not said yet how often they come. */
const USUAL_HEARTBEAT = 10_000;

/**
 * One stream's way through interruptions. Until it has begun, the ordinary limits of a call hold. From then on it is
 * taken up again for as long as it takes, or for `giveUpAfter` milliseconds in which it did not come further.
 */
export class Resumption {
  /** Whether a call is under way that has begun to deliver. */
  isOpen = false;
  #heartbeat = USUAL_HEARTBEAT;
  #hasBegun = false;
  /** Whether the server has said in this call that it delivers, or will. */
  #isTaken = false;
  #attempts: Attempts | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly endedLeases: ReadonlySet<string>,
    private readonly giveUpAfter: number | undefined,
  ) {
    this.#attempts = this.ordinaryAttempts();
  }

  /** Takes note that a call has begun to deliver, and how often it says something from now on. */
  opened(heartbeatInterval: Duration | undefined): void {
    const interval = heartbeatInterval === undefined ? 0 : milliseconds(heartbeatInterval);
    this.#heartbeat = interval > 0 ? interval : USUAL_HEARTBEAT;
    this.isOpen = true;
    this.#begun();
  }

  /** Takes note that the stream has come further, which is more than a beginning: a server may fail after each of those. */
  progressed(): void {
    if (this.isOpen) {
      this.#attempts = undefined;
    }
  }

  /** Takes note that the stream is to wait for its turn: it lasts as one that has begun, and has come further. */
  waits(): void {
    this.#begun();
    this.#attempts = undefined;
  }

  #begun(): void {
    this.#isTaken = true;
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      this.#attempts = undefined;
    }
  }

  /** Returns how many milliseconds to wait for the next message. */
  patience(): number {
    const left = this.#isTaken || this.#attempts === undefined ? Infinity : this.#attempts.remaining();
    return Math.min(left, this.#longestSilence());
  }

  #longestSilence(): number {
    return HEARTBEATS_MISSED * this.#heartbeat + GRACE;
  }

  /** Returns what it is when nothing has come for so long: before the first beginning, the end of its time. */
  lateness(): status {
    const isLate = !this.#hasBegun && (this.#attempts?.remaining() ?? Infinity) <= this.#longestSilence();
    return isLate ? status.DEADLINE_EXCEEDED : status.UNAVAILABLE;
  }

  /** Returns how many milliseconds to wait before the next call; throws the error when there is none. */
  delayAfter(failure: Failure): number {
    this.isOpen = this.#isTaken = false;
    this.#attempts ??= this.attempts();
    return this.#attempts.delayAfter(failure);
  }

  /** Returns the attempts of a call that belongs to the stream: as lasting as the stream itself. */
  attempts(): Attempts {
    const { retries, timeout } = this.connection;
    return this.#hasBegun ? new LastingAttempts(retries, timeout, this.giveUpAfter) : this.ordinaryAttempts();
  }

  /** Returns the attempts that any other call has, or those of one that is to take at most so many milliseconds. */
  ordinaryAttempts(longest = Infinity): Attempts {
    const { retries, timeout } = this.connection;
    return new Attempts(retries, Math.min(timeout, longest), undefined, this.endedLeases);
  }
}
