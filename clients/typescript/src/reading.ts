/**
 * Owns how far a query's result has been read, and how to go on after an interruption as if there had been none.
 *
 * The log is immutable, so the rest of a snapshot can be asked for again, exactly: the facts after the last one that
 * was returned, up to the context version that the first message named.
 */
import { checkedOptional, type SequenceNumber } from "./checks.js";
import { LogDivergedError } from "./errors.js";
import { type EventRecord, ReceivedRecord } from "./event.js";
import { Order, type QueryRequest, type QueryResponse } from "./generated/factstr/v1/event_store_service.js";
import type { EventQuery } from "./query.js";

/** Which part of a query's result to return, and in which order. */
export interface ResultRange {
  /** At most so many facts; 0 returns none, only the context version. */
  readonly limit?: SequenceNumber | undefined;
  /** Oldest first (`"ascending"`, the default) or newest first. */
  readonly order?: "ascending" | "descending" | undefined;
  /** Only facts strictly before this sequence number. It never narrows the context version. */
  readonly before?: SequenceNumber | undefined;
}

/** One result: what was asked for, and what has come so far. */
export class Reading {
  contextVersion: bigint | undefined;
  lastReturned: bigint | undefined;
  isStarted = false;
  readonly #asked: QueryRequest;
  #returned = 0n;
  /** Whether the call under way has brought a message. */
  #isAnswered = false;

  constructor(query: EventQuery, { limit, order = "ascending", before }: ResultRange) {
    if (!["ascending", "descending"].includes(order)) {
      throw new TypeError(`order is ${JSON.stringify(order)}; it must be "ascending" or "descending"`);
    }
    this.#asked = {
      query: query.toMessage(),
      limit: checkedOptional("limit", limit),
      order: order === "ascending" ? Order.ORDER_ASCENDING : Order.ORDER_DESCENDING,
      beforeSequenceNumber: checkedOptional("before", before),
    };
  }

  /** Returns the request of the next call, for what has not come yet; `undefined` when nothing is left. */
  nextCall(): QueryRequest | undefined {
    this.#isAnswered = false;
    return this.#rest();
  }

  /**
   * Tells whether a call that ends well now has brought all. Each brings a message; and only where an ascending result
   * reaches up to its context version is it known which fact is the last.
   */
  mayEnd(): boolean {
    const { order, beforeSequenceNumber } = this.#asked;
    const isOpenEnded = order !== Order.ORDER_ASCENDING || beforeSequenceNumber !== undefined;
    return this.#isAnswered && (isOpenEnded || this.#rest() === undefined);
  }

  #rest(): QueryRequest | undefined {
    if (!this.isStarted) {
      return this.#asked;
    }
    const { query, limit, order, beforeSequenceNumber } = this.#asked;
    let after = query?.minSequenceNumber;
    let before = (this.contextVersion ?? 0n) + 1n;
    if (beforeSequenceNumber !== undefined && beforeSequenceNumber < before) {
      before = beforeSequenceNumber;
    }
    if (this.lastReturned !== undefined) {
      if (order === Order.ORDER_ASCENDING) {
        after = this.lastReturned;
      } else {
        before = this.lastReturned;
      }
    }
    const left = limit === undefined ? undefined : limit - this.#returned;
    if (left === 0n || before <= (after ?? 0n) + 1n) {
      return undefined;
    }
    return {
      query: { filters: query?.filters ?? [], minSequenceNumber: after },
      limit: left,
      order,
      beforeSequenceNumber: before,
    };
  }

  /** Takes in the next message, and returns its facts. Throws a LogDivergedError when the log has grown shorter. */
  take(message: QueryResponse): EventRecord[] {
    if (!this.isStarted) {
      this.isStarted = true;
      this.contextVersion = message.currentContextVersion;
    } else if (!this.#isAnswered) {
      this.#checkVersion(message.currentContextVersion);
    }
    this.#isAnswered = true;
    const records = message.eventRecords.map((record) => new ReceivedRecord(record));
    this.lastReturned = records.at(-1)?.sequenceNumber ?? this.lastReturned;
    this.#returned += BigInt(records.length);
    return records;
  }

  #checkVersion(now: bigint | undefined): void {
    if ((now ?? 0n) < (this.contextVersion ?? 0n)) {
      throw new LogDivergedError(
        `the context had the version ${this.contextVersion} when the result began, and has ${now ?? "none"} now: the ` +
          "log has lost its tail, so the rest would be of another one",
        { code: "DATA_LOSS", reason: "LOG_DIVERGED" },
      );
    }
  }
}
