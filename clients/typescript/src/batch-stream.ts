/** Owns the reading of streams: one call after the other, as batches are asked for. */
import type { ClientReadableStream } from "@grpc/grpc-js";

import { type Calls, Receiving } from "./calls.js";
import { Ending, pause, unlessAborted } from "./ending.js";
import { StoreClosedError } from "./errors.js";
import { Interrupted, isFailure } from "./failure.js";
import type { CommittedBatch, Following, StreamMessage } from "./following.js";
import { Turns } from "./turns.js";

/** How to take up a stream again, and how to end it. */
export interface FollowOptions {
  /** Give up after so many milliseconds of interruption in which the stream did not come further; never by itself. */
  readonly giveUpAfter?: number | undefined;
  /** Ends the stream, also while it is being opened: whoever reads it gets the signal's reason as an error. */
  readonly signal?: AbortSignal | undefined;
}

/** How to wait for a batch. */
export interface WaitOptions {
  /**
   * Leaves the wait, which then throws the signal's reason: the stream goes on, and the batch that comes next is the next
   * reader's. To wait a while only: `AbortSignal.timeout(milliseconds)`.
   */
  readonly signal?: AbortSignal | undefined;
}

/** The reason of a stream that was closed: whoever reads it comes to its end. */
const CLOSED = Symbol("closed");

/**
 * Committed batches in commit order, for as long as it takes: iterated with `for await`. Leaving the loop closes the
 * stream; otherwise leave it with `close()` or `await using`.
 */
export class BatchStream<Batch extends CommittedBatch, State extends Following<Batch> = Following<Batch>>
  implements AsyncIterableIterator<Batch, undefined>, AsyncDisposable
{
  /** @internal */
  protected readonly following: State;
  readonly #openCall: () => ClientReadableStream<StreamMessage>;
  readonly #ending: Ending;
  readonly #turns = new Turns();
  #call: Receiving<StreamMessage> | undefined;
  /** What is being received. It goes on when who waits for it leaves, and is there for the next. */
  #receiving: Promise<void> | undefined;
  #isTold = false;

  /** @internal */
  constructor(
    calls: Calls,
    following: State,
    openCall: () => ClientReadableStream<StreamMessage>,
    signal: AbortSignal | undefined,
  ) {
    this.following = following;
    this.#openCall = openCall;
    this.#ending = new Ending(calls.closing, signal);
    this.#ending.signal.addEventListener("abort", () => {
      this.#call?.cancel();
      this.ended();
    });
  }

  /**
   * Reads until registration is active, so that what is appended from then on is delivered.
   *
   * @internal
   */
  async open(): Promise<this> {
    await this.#turns.take(() => this.#advance(() => this.following.resumption.isOpen));
    return this;
  }

  /** Everything up to it was handed over or does not match. */
  get position(): bigint {
    return this.following.position ?? 0n;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * Returns the next batch; done when the stream is closed. Who asks first gets the first one: a promise that nobody
   * looks at any more takes its batch all the same, so leave a wait by its signal.
   *
   * @throws {FactstrError} what will not pass; then the stream is closed
   */
  next({ signal }: WaitOptions = {}): Promise<IteratorResult<Batch, undefined>> {
    return this.#next(this.following.hasBatch, signal);
  }

  /** Closes the stream: a loop that is left calls it. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.close();
    return { done: true, value: undefined };
  }

  /**
   * Returns the batches up to the head, and stops there; the stream itself then goes on, also when the loop is left.
   *
   * @throws {StoreClosedError} when the stream is closed before it has reached the head
   */
  untilCaughtUp({ signal }: WaitOptions = {}): AsyncIterableIterator<Batch, undefined> {
    const batches: AsyncIterableIterator<Batch, undefined> = {
      [Symbol.asyncIterator]: () => batches,
      next: async () => {
        const next = await this.#next(this.following.hasBatchOrCaughtUp, signal);
        if (next.done && this.#ending.isOver()) {
          throw new StoreClosedError("the stream is closed; it has not reached the head", {
            code: "CANCELLED",
          });
        }
        return next;
      },
    };
    return batches;
  }

  /** Ends the stream, also for whoever is reading it. Harmless after the end, and again. */
  close(): Promise<void> {
    this.end(CLOSED);
    return Promise.resolve();
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Ends the stream for a reason that whoever is reading it is to know.
   *
   * @internal
   */
  protected end(reason: unknown): void {
    this.#ending.end(reason);
  }

  /**
   * Is called once, when the stream has ended for whatever reason.
   *
   * @internal
   */
  protected ended(): void {
    // Nothing is to be done for a live stream.
  }

  #next(isEnough: () => boolean, signal?: AbortSignal): Promise<IteratorResult<Batch, undefined>> {
    return this.#turns.take(async () => {
      const value = (await this.#advance(isEnough, signal)) ? this.following.handOver() : undefined;
      return value === undefined ? { done: true, value } : { done: false, value };
    }, signal);
  }

  /** Reads until it is enough, through as many calls as it takes; returns false when the stream has ended. */
  async #advance(isEnough: () => boolean, signal?: AbortSignal): Promise<boolean> {
    while (!this.#ending.isOver()) {
      if (isEnough()) {
        return true;
      }
      this.#receiving ??= this.#receive();
      await unlessAborted(this.#receiving, signal);
    }
    if (this.#isTold || this.#ending.reason === CLOSED) {
      return false;
    }
    this.#isTold = true;
    throw this.#ending.reason;
  }

  /** Takes in one message, or goes over an interruption; what will not pass ends the stream. */
  async #receive(): Promise<void> {
    try {
      await this.#take();
    } catch (error) {
      // The first reason stays: what the end itself has caused is none.
      this.end(error);
    } finally {
      this.#receiving = undefined;
    }
  }

  async #take(): Promise<void> {
    const { resumption } = this.following;
    try {
      this.#call ??= new Receiving(this.#openCall());
      const message = await this.#call.next(resumption.patience(), resumption.lateness());
      if (message === undefined) {
        throw new Interrupted("the stream ended without a reason");
      }
      this.following.take(message);
    } catch (failure) {
      if (!isFailure(failure) || this.#ending.isOver()) {
        throw failure;
      }
      this.#call = undefined;
      this.following.interrupted();
      await pause(resumption.delayAfter(failure), this.#ending.signal);
    }
  }
}
