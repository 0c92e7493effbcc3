/** Owns how far a durable stream has come under which lease, and which of its batches can still be acknowledged. */
import { checkedInteger, checkedNumber, checkedText, type SequenceNumber } from "./checks.js";
import { LeaseLostError } from "./errors.js";
import type { EventRecord } from "./event.js";
import { type CommittedBatch, committedBatch, Following, type StreamMessage } from "./following.js";
import type * as wire from "./generated/factstr/v1/event_store_service.js";
import type { Resumption } from "./resumption.js";

/** A batch of a durable stream, to be acknowledged. */
export class DurableBatch implements CommittedBatch {
  readonly firstSequenceNumber: bigint;
  readonly lastSequenceNumber: bigint;
  readonly eventRecords: readonly EventRecord[];
  /** The epoch of the lease under which it came: a fencing number, which only ever rises. */
  readonly leaseEpoch: bigint;
  readonly #token: string;

  /** @internal */
  constructor(message: wire.CommittedBatch, leaseEpoch: bigint) {
    const { firstSequenceNumber, lastSequenceNumber, eventRecords } = committedBatch(message);
    this.firstSequenceNumber = firstSequenceNumber;
    this.lastSequenceNumber = lastSequenceNumber;
    this.eventRecords = eventRecords;
    this.leaseEpoch = leaseEpoch;
    this.#token = message.acknowledgementToken;
  }

  /** @internal */
  get acknowledgementToken(): string {
    return this.#token;
  }
}

/** How to consume a durable stream. */
export interface DurableOptions {
  /** Where a new name starts: strictly after a sequence number, or at the `"head"`; before the first fact by default. */
  readonly start?: SequenceNumber | "head" | undefined;
  /** At most so many batches are sent beyond what is acknowledged; what the server finds right by default. */
  readonly maxUnacknowledgedBatches?: number | undefined;
  /** Wait while another consumer holds the lease, for as long as it takes, in place of a DurableStreamActiveError. */
  readonly waitForLease?: boolean | undefined;
}

type OpenRequest = wire.StreamAllDurableRequest;
type Started = wire.StreamStarted | wire.DurableStreamStarted;

/** Returns the request that opens a durable stream. Throws a TypeError or RangeError for what the wire cannot say. */
export function openRequest(name: string, options: DurableOptions): OpenRequest {
  const { start, maxUnacknowledgedBatches = 0, waitForLease = false } = options;
  return {
    durableStream: checkedText("name", name),
    maxUnacknowledgedBatches: checkedInteger("maxUnacknowledgedBatches", maxUnacknowledgedBatches),
    waitForLease,
    start:
      start === undefined
        ? undefined
        : start === "head"
          ? { $case: "startAtHead", value: true }
          : { $case: "startAfterSequenceNumber", value: checkedNumber("start", start) },
  };
}

/** A durable stream: begun, and gone on with, after the cursor that the store keeps. */
export class Consuming extends Following<DurableBatch> {
  cursor = 0n;
  leaseEpoch: bigint | undefined;
  /** What the store has certainly kept. The cursor may be beyond: passing over what does not match is stored later. */
  #kept = 0n;

  constructor(
    public request: OpenRequest,
    resumption: Resumption,
  ) {
    super(resumption);
  }

  override take(message: StreamMessage): void {
    if (message.content?.$case === "waiting") {
      this.resumption.waits();
    } else {
      super.take(message);
    }
  }

  /** Returns what acknowledges a batch; `undefined` when it came under an earlier lease, and is delivered again. */
  acknowledgement(batch: DurableBatch): wire.AcknowledgeDurableRequest | undefined {
    return this.#isOfEarlierLease(batch)
      ? undefined
      : { durableStream: this.request.durableStream, acknowledgementToken: batch.acknowledgementToken };
  }

  acknowledged({ lastSequenceNumber }: DurableBatch, cursor: bigint): void {
    this.cursor = cursor > this.cursor ? cursor : this.cursor;
    this.#kept = lastSequenceNumber > this.#kept ? lastSequenceNumber : this.#kept;
  }

  /** Tells whether this stream itself ended the lease meanwhile, in going on after an interruption. */
  isGivingUpLeaseOf(batch: DurableBatch): boolean {
    return this.#isOfEarlierLease(batch) || !this.resumption.isOpen;
  }

  #isOfEarlierLease({ leaseEpoch }: DurableBatch): boolean {
    return leaseEpoch < (this.leaseEpoch ?? 0n);
  }

  /** Takes note that this consumer is done with its lease, which the server may notice a little later. */
  endLease(endedLeases: Set<string>): void {
    if (this.leaseEpoch !== undefined) {
      endedLeases.add(String(this.leaseEpoch));
    }
  }

  protected override batch(message: wire.CommittedBatch): DurableBatch {
    return new DurableBatch(message, this.leaseEpoch ?? 0n);
  }

  protected override begin(started: Started): void {
    if (!("leaseEpoch" in started)) {
      return;
    }
    // First, so that whatever ends the stream now ends this lease.
    this.leaseEpoch = started.leaseEpoch;
    super.begin(started);
    const { durableStream } = this.request;
    if (started.cursor < this.#kept) {
      throw new LeaseLostError(
        `${durableStream} stands at ${started.cursor}, but ${this.#kept} was acknowledged: it was reset or deleted ` +
          "while this consumer was not connected",
        { code: "ABORTED", reason: "DURABLE_STREAM_LEASE_LOST" },
      );
    }
    this.cursor = this.position = this.#kept = started.cursor;
    // Every later call follows an interrupted one. The server may not have noticed that, and hold this consumer's own
    // lease; and where a new name starts is no matter for an old one.
    this.request = { ...this.request, waitForLease: true, start: undefined };
  }
}
