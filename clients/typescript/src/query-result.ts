/** Owns the reading of a query's result, across lost connections. */
import { status } from "@grpc/grpc-js";

import { type Calls, Receiving } from "./calls.js";
import { Ending, pause } from "./ending.js";
import { StoreClosedError } from "./errors.js";
import type { EventRecord } from "./event.js";
import { Interrupted, isFailure } from "./failure.js";
import type { QueryResponse } from "./generated/factstr/v1/event_store_service.js";
import type { Reading } from "./reading.js";
import { Attempts } from "./retry.js";
import { Turns } from "./turns.js";

/** The reason of a result that was closed: whoever reads it comes to its end. */
const CLOSED = Symbol("closed");

/**
 * The facts that a query returns, in one snapshot: read as they are iterated, once, in bounded memory. A lost connection
 * does not show. Leaving the loop early ends it; without a loop, `close` does.
 */
export class QueryResult implements AsyncIterableIterator<EventRecord, undefined>, AsyncDisposable {
  readonly #calls: Calls;
  readonly #reading: Reading;
  readonly #timeout: number;
  readonly #ending: Ending;
  readonly #turns = new Turns();
  #call: Receiving<QueryResponse> | undefined;
  #records: readonly EventRecord[] = [];
  #handedOver = 0;
  #isOver = false;

  /** @internal */
  constructor(calls: Calls, reading: Reading, timeout: number, signal: AbortSignal | undefined) {
    this.#calls = calls;
    this.#reading = reading;
    this.#timeout = timeout;
    this.#ending = new Ending(calls.closing, signal);
    this.#ending.signal.addEventListener("abort", () => this.#call?.cancel());
  }

  /**
   * Returns the version of the full context in this snapshot, once it is known; `undefined` when no fact matches.
   *
   * @throws {FactstrError} as reading does
   */
  contextVersion(): Promise<bigint | undefined> {
    return this.#turns.take(async () => {
      if (!this.#reading.isStarted) {
        await this.#receive();
      }
      if (!this.#reading.isStarted) {
        throw new StoreClosedError("the result was closed before it began", { code: "CANCELLED" });
      }
      return this.#reading.contextVersion;
    });
  }

  /** The last fact received so far, in the order asked; `undefined` while there was none. */
  get lastReturnedSequenceNumber(): bigint | undefined {
    return this.#reading.lastReturned;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Returns the next fact. */
  next(): Promise<IteratorResult<EventRecord, undefined>> {
    return this.#turns.take(async () => {
      if (this.#handedOver === this.#records.length && !this.#isOver) {
        await this.#receive();
      }
      const value = this.#records[this.#handedOver];
      if (value === undefined) {
        return { done: true, value };
      }
      this.#handedOver += 1;
      return { done: false, value };
    });
  }

  /** Stops reading, as `close` does: a loop that is left calls it. */
  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.close();
    return { done: true, value: undefined };
  }

  /** Stops reading, and the server stops sending. Harmless after the end, and again. */
  close(): Promise<void> {
    this.#end();
    this.#ending.end(CLOSED);
    return Promise.resolve();
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #end(): void {
    this.#isOver = true;
    this.#call?.cancel();
    this.#records = [];
    this.#handedOver = 0;
    this.#ending.release();
  }

  /** Takes in messages up to the next facts, with repetitions and a time for them; or takes note that there are none. */
  async #receive(): Promise<void> {
    const attempts = new Attempts(this.#calls.connection.retries, this.#timeout);
    try {
      while (!this.#isOver) {
        try {
          this.#ending.signal.throwIfAborted();
          await this.#take(attempts);
          if (this.#records.length > 0) {
            return;
          }
        } catch (failure) {
          if (!isFailure(failure) || this.#ending.isOver()) {
            throw failure;
          }
          this.#call = undefined;
          await pause(attempts.delayAfter(failure), this.#ending.signal);
        }
      }
    } catch (error) {
      this.#end();
      if (this.#ending.reason !== CLOSED) {
        throw this.#ending.isOver() ? this.#ending.reason : error;
      }
    }
  }

  async #take(attempts: Attempts): Promise<void> {
    if (this.#call === undefined) {
      const request = this.#reading.nextCall();
      if (request === undefined) {
        this.#end();
        return;
      }
      this.#call = new Receiving(this.#calls.stubs.eventStore.query(request));
    }
    const message = await this.#call.next(attempts.remaining(), status.DEADLINE_EXCEEDED);
    if (message === undefined) {
      if (!this.#reading.mayEnd()) {
        throw new Interrupted("the result ended before all of it had come");
      }
      this.#end();
    } else if (!this.#isOver) {
      this.#records = this.#reading.take(message);
      this.#handedOver = 0;
    }
  }
}
