/** Owns the consuming of durable streams: reading, acknowledging, and projecting. */
import type { ClientReadableStream } from "@grpc/grpc-js";

import { BatchStream, type WaitOptions } from "./batch-stream.js";
import type { Calls } from "./calls.js";
import { type Consuming, DurableBatch } from "./consuming.js";
import { DurableStreamNotFoundError, FactstrError, LeaseLostError } from "./errors.js";
import type { StreamMessage } from "./following.js";
import {
  AcknowledgeDurableRequest,
  EventStoreServiceService,
} from "./generated/factstr/v1/event_store_service.js";
import type { Attempts } from "./retry.js";

/** Is run on each batch of a projection; a promise that it returns is awaited. */
export type Handler = (batch: DurableBatch) => unknown;

/** Milliseconds for the last acknowledgement before a failure is told. */
const LONGEST_FAREWELL = 3_000;

/** Milliseconds: an acknowledgement of each batch would cost a replay most of its time. */
const LONGEST_UNACKNOWLEDGED = 100;

/**
 * The batches of a durable stream, in commit order, each at least once: iterated, and acknowledged when done.
 *
 * An interruption that may pass is gone over: the stream is taken up again under a new lease, after the cursor that the
 * store keeps, so what was not acknowledged is delivered again. Where another consumer has taken the lease meanwhile,
 * this one stands by until it is free. With a LeaseLostError it is done: the stream was reset or deleted by force.
 */
export class DurableStream extends BatchStream<DurableBatch, Consuming> {
  readonly #calls: Calls;

  /** @internal */
  constructor(
    calls: Calls,
    consuming: Consuming,
    openCall: () => ClientReadableStream<StreamMessage>,
    signal: AbortSignal | undefined,
  ) {
    super(calls, consuming, openCall, signal);
    this.#calls = calls;
  }

  /** Where the store stands, as it last said: everything up to it is acknowledged or does not match. */
  get cursor(): bigint {
    return this.following.cursor;
  }

  /** The epoch of the lease: a fencing number. It rises whenever this stream is taken up again. */
  get leaseEpoch(): bigint {
    return this.following.leaseEpoch ?? 0n;
  }

  /**
   * Acknowledges this batch and all before it; returns the cursor.
   *
   * Does nothing for a batch that came before an interruption that this stream has gone over since: it is delivered
   * again. Repeated after failures that may pass for as long as the stream itself would be taken up again.
   *
   * @throws {LeaseLostError} when the stream was reset or deleted by force; then it is closed
   */
  async acknowledge(
    batch: DurableBatch,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<bigint> {
    await this.#acknowledge(batch, this.following.resumption.attempts(), signal);
    return this.cursor;
  }

  /**
   * Runs the handler on each batch and acknowledges what it has done, then closes the stream: see
   * {@link EventStore.project}. Unlike the stream's own signal, one given here lets the last acknowledgement through.
   */
  async project(
    handler: Handler,
    { stopWhenCaughtUp, signal }: WaitOptions & { readonly stopWhenCaughtUp?: boolean | undefined } = {},
  ): Promise<void> {
    let unacknowledged: DurableBatch | undefined;
    let acknowledgedAt = performance.now();
    // Not in a loop over the stream itself, which would close it before the last acknowledgement.
    const batches = stopWhenCaughtUp ? this.untilCaughtUp({ signal }) : { next: () => this.next({ signal }) };
    try {
      for (let next = await batches.next(); !next.done; next = await batches.next()) {
        await handler(next.value);
        unacknowledged = next.value;
        const isDue = performance.now() - acknowledgedAt >= LONGEST_UNACKNOWLEDGED;
        if (isDue || !this.following.hasBatch()) {
          await this.acknowledge(next.value, { signal });
          unacknowledged = undefined;
          acknowledgedAt = performance.now();
        }
      }
    } finally {
      if (unacknowledged !== undefined) {
        await this.#acknowledgeBeforeFailing(unacknowledged);
      }
      await this.close();
    }
  }

  /** @internal */
  protected override ended(): void {
    this.following.endLease(this.#calls.endedLeases);
  }

  /** Acknowledges what was done before a failure, unless that fails too: the failure is what matters. */
  async #acknowledgeBeforeFailing(batch: DurableBatch): Promise<void> {
    try {
      await this.#acknowledge(batch, this.following.resumption.ordinaryAttempts(LONGEST_FAREWELL), undefined);
    } catch (error) {
      if (!(error instanceof FactstrError)) {
        throw error;
      }
    }
  }

  async #acknowledge(
    batch: DurableBatch,
    attempts: Attempts,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const request = this.following.acknowledgement(batch);
    if (request === undefined) {
      return;
    }
    const bytes = Buffer.from(AcknowledgeDurableRequest.encode(request).finish());
    try {
      const { cursor } = await this.#calls.unary(
        EventStoreServiceService.acknowledgeDurable,
        bytes,
        attempts,
        signal,
      );
      this.following.acknowledged(batch, cursor);
    } catch (error) {
      if (error instanceof LeaseLostError && this.following.isGivingUpLeaseOf(batch)) {
        return;
      }
      if (error instanceof LeaseLostError || error instanceof DurableStreamNotFoundError) {
        this.end(error);
      }
      throw error;
    }
  }
}
