/** Owns how far a stream has come, and what of it is still to be handed over. */
import { checkedOptional, type SequenceNumber } from "./checks.js";
import { LogDivergedError, ServerError } from "./errors.js";
import { type EventRecord, ReceivedRecord } from "./event.js";
import type * as wire from "./generated/factstr/v1/event_store_service.js";
import type { Resumption } from "./resumption.js";

/** What one append committed, or the facts of it that match the stream's query. */
export interface CommittedBatch {
  /** Of the first fact of the whole commit. */
  readonly firstSequenceNumber: bigint;
  /** Of the last fact of the whole commit: who is done with this batch is done up to here. */
  readonly lastSequenceNumber: bigint;
  /** The facts that match, in order. */
  readonly eventRecords: readonly EventRecord[];
}

/** A message of a stream; its content is of a kind that this version knows, or is skipped. */
export interface StreamMessage {
  readonly content: wire.StreamResponse["content"] | wire.DurableStreamResponse["content"];
}

type Started = wire.StreamStarted | wire.DurableStreamStarted;

/**
 * One stream, through all its calls: what came that is not handed over yet, and where it stands.
 *
 * The position is moved by what the calls say, and by each batch as it is handed over. Messages are taken in only when
 * all batches before are handed over, so that a call that follows an interrupted one begins at it.
 */
export abstract class Following<Batch extends CommittedBatch> {
  /** Everything up to it was handed over or does not match; `undefined` before the stream has begun. */
  position: bigint | undefined;
  #isCaughtUp = false;
  #log: string | undefined;
  #batches: wire.CommittedBatch[] = [];
  #handedOver = 0;

  constructor(readonly resumption: Resumption) {}

  /** Takes in the next message. Content that this version does not know is skipped. */
  take({ content }: StreamMessage): void {
    const before = this.position;
    switch (content?.$case) {
      case "started":
        this.begin(content.value);
        this.resumption.opened(content.value.heartbeatInterval);
        return;
      case "batches":
        this.#batches = content.value.batches;
        this.#handedOver = 0;
        break;
      case "checkpoint":
        this.reached(content.value.sequenceNumber);
        break;
      case "caughtUp":
        this.#isCaughtUp = true;
        this.reached(content.value.headSequenceNumber);
        break;
    }
    if (content?.$case === "checkpoint" || this.hasBatch() || this.position !== before) {
      this.resumption.progressed();
    }
  }

  /** Takes note that the stream is interrupted: whether it is at the head is to be said again. */
  interrupted(): void {
    this.#isCaughtUp = false;
  }

  readonly hasBatch = (): boolean => this.#handedOver < this.#batches.length;

  readonly hasBatchOrCaughtUp = (): boolean => this.hasBatch() || this.#isCaughtUp;

  /** Returns the next batch, to be taken as delivered; `undefined` when there is none. */
  handOver(): Batch | undefined {
    const message = this.#batches[this.#handedOver];
    if (message === undefined) {
      return undefined;
    }
    const batch = this.batch(message);
    this.#handedOver += 1;
    this.reached(batch.lastSequenceNumber);
    return batch;
  }

  protected abstract batch(message: wire.CommittedBatch): Batch;

  /** Takes in where a call begins. Throws a LogDivergedError when it is on another log than the first. */
  protected begin({ storeId, historyId }: Started): void {
    const log = `${storeId} / ${historyId}`;
    this.#log ??= log;
    if (log !== this.#log) {
      throw new LogDivergedError(
        `the stream began on the log ${this.#log}; the server has ${log} now, where its positions mean nothing: ` +
          "read that one from the beginning",
        { code: "DATA_LOSS", reason: "LOG_DIVERGED" },
      );
    }
  }

  protected reached(sequenceNumber: bigint): void {
    if (this.position === undefined || this.position < sequenceNumber) {
      this.position = sequenceNumber;
    }
  }
}

/** A live stream: begun where it was asked to, and gone on with from its position. */
export class LiveFollowing extends Following<CommittedBatch> {
  constructor(after: SequenceNumber | undefined, resumption: Resumption) {
    super(resumption);
    this.position = checkedOptional("after", after);
  }

  protected override batch(message: wire.CommittedBatch): CommittedBatch {
    return committedBatch(message);
  }

  protected override begin(started: Started): void {
    super.begin(started);
    if (!("afterSequenceNumber" in started)) {
      return;
    }
    const { afterSequenceNumber } = started;
    if (this.position !== undefined && this.position < afterSequenceNumber) {
      throw new ServerError(
        `the stream was to go on after ${this.position}, and the server begins after ${afterSequenceNumber}: what is ` +
          "between would be left out",
        { code: "INTERNAL" },
      );
    }
    this.reached(afterSequenceNumber);
  }
}

export function committedBatch(message: wire.CommittedBatch): CommittedBatch {
  return {
    firstSequenceNumber: message.firstSequenceNumber,
    lastSequenceNumber: message.lastSequenceNumber,
    eventRecords: message.eventRecords.map((record) => new ReceivedRecord(record)),
  };
}
