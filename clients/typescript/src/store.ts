/** Owns the store: one method per operation, each a call with its repetitions. */
import type { Channel } from "@grpc/grpc-js";

import { keyFor, ofPossibleSize } from "./appending.js";
import { BatchStream, type FollowOptions } from "./batch-stream.js";
import { Calls, type Stubs, type UnaryMethod } from "./calls.js";
import { checkedInteger, checkedMilliseconds, checkedOptional, type SequenceNumber } from "./checks.js";
import { connection, type ConnectOptions } from "./connection.js";
import { Consuming, type DurableOptions, openRequest } from "./consuming.js";
import { DurableStream, type Handler } from "./durable-stream.js";
import { Ending, pause } from "./ending.js";
import { ConditionalAppendConflictError } from "./errors.js";
import { type AppendResult, type Context, type NewEvents, toAppendResult, toNewEvents } from "./event.js";
import { type CommittedBatch, LiveFollowing } from "./following.js";
import {
  type AppendResponse,
  EventStoreServiceService as Service,
} from "./generated/factstr/v1/event_store_service.js";
import { type EventQuery, everything } from "./query.js";
import { QueryResult } from "./query-result.js";
import { type ResultRange, Reading } from "./reading.js";
import { Resumption } from "./resumption.js";
import { Attempts, conflictDelay } from "./retry.js";

/** What every call takes; a stream only the `signal`. */
export interface CallOptions {
  /** How many milliseconds this call may take, in place of what `connect` was given; `Infinity` is no timeout. */
  readonly timeout?: number | undefined;
  /**
   * Cancels the call, which then throws the signal's reason; an append that may have been committed throws an
   * OutcomeUnknownError instead, with the reason as its `cause`.
   */
  readonly signal?: AbortSignal | undefined;
}

/** How to append. */
export interface AppendOptions extends CallOptions {
  /**
   * Sent again with the same events it returns the first result again, and with others it throws an
   * IdempotencyKeyReusedError. 1 to 200 characters. Without one each append gets a random key of its own.
   */
  readonly idempotencyKey?: string | undefined;
}

/** Which facts to read; `timeout` bounds each wait for the server, not the time that is taken over the facts. */
export interface QueryOptions extends CallOptions, ResultRange {}

/** How to decide; `timeout` is for each call. */
export interface DecideOptions extends CallOptions {
  /** How often to decide at most (10), before the last conflict is thrown. */
  readonly attempts?: number | undefined;
}

/** How to follow a live stream. */
export interface StreamOptions extends FollowOptions {
  /** Begin strictly after a sequence number (0: from the beginning); from now on by default. */
  readonly after?: SequenceNumber | undefined;
}

/** How to consume a durable stream. */
export interface DurableStreamOptions extends DurableOptions, FollowOptions {}

/** How to run a projection. */
export interface ProjectOptions extends DurableStreamOptions {
  /** Return when everything up to the head is handled and acknowledged, in place of going on live. */
  readonly stopWhenCaughtUp?: boolean | undefined;
}

/** Committed batches in commit order, each once. */
export type LiveStream = BatchStream<CommittedBatch>;

/** What is to be appended; `null` or `undefined` is nothing. */
type Decided = NewEvents | null | undefined;

/**
 * Returns the store at `target`: `host:port`, `[v6 address]:port` or `unix:/path`. Nothing is sent yet: a server that
 * cannot be reached shows at the first call.
 *
 * @throws {TypeError} when `target` is no address or has no port, when a token would cross a network in plaintext and
 * `allowPlaintextToken` does not say that it may, and when only one of `cert` and `key` is given, or a file of `tls` cannot
 * be read or used
 * @throws {RangeError} for a time or a number that cannot be meant
 */
export function connect(target: string, options: ConnectOptions = {}): EventStore {
  return new EventStore(new Calls(connection(target, options)));
}

/**
 * A FACTSTR event store.
 *
 * Every method throws a FactstrError when the server refuses or cannot be asked, and a TypeError or RangeError for
 * arguments that cannot be meant. Failures that may pass are gone over: an append has an idempotency key, which is made
 * for it where the caller gives none, and commits once however often it is sent.
 */
export class EventStore implements AsyncDisposable {
  readonly #calls: Calls;

  /** @internal */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** The channel, for stubs of your own. They need the token themselves. */
  get channel(): Channel {
    return this.#calls.channel;
  }

  /** The generated stubs on this channel, whose calls carry the token, for what this class does not wrap. */
  get stubs(): Stubs {
    return this.#calls.stubs;
  }

  /** Ends everything that is under way, and closes the channel. Calls after it throw a StoreClosedError. */
  close(): Promise<void> {
    this.#calls.close();
    return Promise.resolve();
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Commits one event or several as one batch: all or none, durable when this returns.
   *
   * @throws {OutcomeUnknownError} when it may or may not have been committed, in spite of repetitions
   */
  async append(events: NewEvents, options: AppendOptions = {}): Promise<AppendResult> {
    const newEvents = toNewEvents(events);
    return this.#append(Service.append, options, (idempotencyKey) => ({ events: newEvents, idempotencyKey }));
  }

  /**
   * Commits a batch only if the query's context has exactly the expected version; `undefined` expects no fact at all.
   *
   * @throws {ConditionalAppendConflictError} when it has another one: then nothing was committed
   * @throws {OutcomeUnknownError} as `append`
   */
  async appendIf(
    events: NewEvents,
    query: EventQuery,
    expectedContextVersion: SequenceNumber | undefined,
    options: AppendOptions = {},
  ): Promise<AppendResult> {
    const request = {
      events: toNewEvents(events),
      contextQuery: query.toMessage(),
      expectedContextVersion: checkedOptional("expectedContextVersion", expectedContextVersion),
    };
    return this.#append(Service.appendIf, options, (idempotencyKey) => ({ ...request, idempotencyKey }));
  }

  /** Returns the facts that match, in one snapshot, read as they are iterated. */
  query(query: EventQuery = everything, { timeout, signal, ...part }: QueryOptions = {}): QueryResult {
    return new QueryResult(this.#calls, new Reading(query, part), this.#timeout(timeout), signal);
  }

  /** Returns all facts that match and their version, to decide on. */
  async readContext(query: EventQuery = everything, options: CallOptions = {}): Promise<Context> {
    const result = this.query(query, options);
    const records = [];
    for await (const record of result) {
      records.push(record);
    }
    return { records, version: await result.contextVersion() };
  }

  /**
   * Reads a context, decides, and appends on the condition that the context has not changed meanwhile. When it has, it
   * reads and decides again, after a short random wait.
   *
   * Returns `undefined` when the decision is to append nothing. An error of the decision is the caller's, and nothing is
   * appended.
   *
   * @throws {ConditionalAppendConflictError} the last one, when there are no `attempts` left
   */
  async decide(
    query: EventQuery,
    decision: (context: Context) => Decided | Promise<Decided>,
    { attempts = 10, ...options }: DecideOptions = {},
  ): Promise<AppendResult | undefined> {
    checkedInteger("attempts", attempts, 1);
    for (let conflicts = 0; ;) {
      const context = await this.readContext(query, options);
      const events = (await decision(context)) ?? [];
      if (Array.isArray(events) && events.length === 0) {
        return undefined;
      }
      try {
        return await this.appendIf(events, query, context.version, options);
      } catch (error) {
        if (!(error instanceof ConditionalAppendConflictError) || conflicts + 1 >= attempts) {
          throw error;
        }
      }
      await pause(conflictDelay(conflicts), options.signal);
      conflicts += 1;
    }
  }

  /**
   * Follows the batches that match, from now on or from `after`. Whatever is appended after this has returned is
   * delivered. The stream has no end of its own: interruptions that may pass are gone over, without a batch lost or
   * repeated.
   *
   * @throws {CursorAheadOfLogError} when the log does not reach as far as `after`
   */
  async streamTo(query: EventQuery, { after, giveUpAfter, signal }: StreamOptions = {}): Promise<LiveStream> {
    const wanted = query.toMessage();
    const following = new LiveFollowing(after, this.#resumption(giveUpAfter));
    const openCall = () =>
      this.stubs.eventStore.streamTo({ query: wanted, afterSequenceNumber: following.position });
    return new BatchStream(this.#calls, following, openCall, signal).open();
  }

  /** Follows all batches: `streamTo` with the query for everything. */
  async streamAll({ after, giveUpAfter, signal }: StreamOptions = {}): Promise<LiveStream> {
    const following = new LiveFollowing(after, this.#resumption(giveUpAfter));
    const openCall = () => this.stubs.eventStore.streamAll({ afterSequenceNumber: following.position });
    return new BatchStream(this.#calls, following, openCall, signal).open();
  }

  /**
   * Consumes, under a name, the batches that match, after the cursor that the store keeps for it. What is not
   * acknowledged is delivered again to the name's next consumer. There is one consumer at a time, which has the lease;
   * when this returns, this one has it. The name is bound to its query.
   *
   * @throws {DurableStreamActiveError} when another consumer has it, unless `waitForLease` is set
   * @throws {QueryMismatchError} when the name is bound to another query
   */
  async streamToDurable(
    name: string,
    query: EventQuery,
    options: DurableStreamOptions = {},
  ): Promise<DurableStream> {
    const wanted = query.toMessage();
    const consuming = new Consuming(openRequest(name, options), this.#resumption(options.giveUpAfter));
    const openCall = () => this.stubs.eventStore.streamToDurable({ ...consuming.request, query: wanted });
    return new DurableStream(this.#calls, consuming, openCall, options.signal).open();
  }

  /** Consumes all batches under a name: `streamToDurable` with the query for everything. */
  async streamAllDurable(name: string, options: DurableStreamOptions = {}): Promise<DurableStream> {
    const consuming = new Consuming(openRequest(name, options), this.#resumption(options.giveUpAfter));
    const openCall = () => this.stubs.eventStore.streamAllDurable(consuming.request);
    return new DurableStream(this.#calls, consuming, openCall, options.signal).open();
  }

  /**
   * Runs the handler on each batch of a durable stream, and acknowledges it after the handler has returned; what comes
   * together is acknowledged together, at the latest after a tenth of a second. After a crash that much is handled again.
   *
   * An error of the handler is the caller's: the batches before are acknowledged, it and those after it are not. So it is
   * when the signal aborts, whose reason is then thrown: what was handled before is acknowledged, which takes a few
   * seconds at most. Without either this returns only with `stopWhenCaughtUp`.
   */
  async project(
    name: string,
    query: EventQuery,
    handler: Handler,
    { stopWhenCaughtUp, signal, ...options }: ProjectOptions = {},
  ): Promise<void> {
    // The signal ends the stream only while it is being opened: later it is to outlive its last acknowledgement.
    const opening = new Ending(signal);
    const stream = await this.streamToDurable(name, query, { ...options, signal: opening.signal }).finally(
      () => {
        opening.release();
      },
    );
    await stream.project(handler, { stopWhenCaughtUp, signal });
  }

  async #append<Request>(
    method: UnaryMethod<Request, AppendResponse>,
    { idempotencyKey, timeout, signal }: AppendOptions,
    requestWith: (idempotencyKey: string) => Request,
  ): Promise<AppendResult> {
    const { retries } = this.#calls.connection;
    const appending = { idempotencyKey: keyFor(idempotencyKey, retries.limit > 0) };
    const request = ofPossibleSize(method.requestSerialize(requestWith(appending.idempotencyKey ?? "")));
    const attempts = new Attempts(retries, this.#timeout(timeout), appending);
    const response = await this.#calls.unary(method, request, attempts, signal);
    return toAppendResult(response, idempotencyKey !== undefined);
  }

  #timeout(given: number | undefined): number {
    return given === undefined ? this.#calls.connection.timeout : checkedMilliseconds("timeout", given);
  }

  #resumption(giveUpAfter: number | undefined): Resumption {
    if (giveUpAfter !== undefined) {
      checkedMilliseconds("giveUpAfter", giveUpAfter);
    }
    return new Resumption(this.#calls.connection, this.#calls.endedLeases, giveUpAfter);
  }
}
