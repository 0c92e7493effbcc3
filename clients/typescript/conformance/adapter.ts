/** The adapter of the TypeScript client: does what each line of its input says, by the public API (clients/conformance). */
import { createInterface } from "node:readline";

import {
  type AppendResult,
  type CommittedBatch,
  ConditionalAppendConflictError,
  connect,
  type DurableBatch,
  type DurableStream,
  type EventQuery,
  type EventRecord,
  type EventStore,
  everything,
  FactstrError,
  JsonText,
  type JsonValue,
  type LiveStream,
  type NewEvent,
  OutcomeUnknownError,
  type SequenceNumber,
  where,
} from "@factstr/client";
import { parse, stringify } from "lossless-json";

interface WrittenEvent {
  event_type: string;
  payload?: JsonValue;
  payload_text?: string;
  metadata?: Record<string, string>;
}

interface WrittenQuery {
  filters?: { event_types?: string[]; payload_predicates?: JsonValue[] }[];
  min_sequence_number?: SequenceNumber;
}

/** The arguments of all requests; each has those that it needs. */
interface Arguments {
  store: string;
  stream: string;
  name: string;
  target: string;
  tls?: boolean | { ca?: string; cert?: string; key?: string; server_name?: string };
  token?: string;
  allow_plaintext_token?: boolean;
  timeout_ms?: number;
  give_up_after_ms?: number;
  retries?: { limit?: number; first_delay_ms?: number; longest_delay_ms?: number };
  events: WrittenEvent[];
  query?: WrittenQuery;
  expected_context_version: SequenceNumber | null;
  idempotency_key?: string;
  limit?: SequenceNumber;
  order?: "ascending" | "descending";
  before?: SequenceNumber;
  after?: SequenceNumber;
  start?: SequenceNumber | "head";
  max_unacknowledged_batches?: number;
  wait_for_lease?: boolean;
  unless_last?: string;
  interfere?: { times: number; events: WrittenEvent[] };
  attempts?: number;
  last_sequence_number: SequenceNumber;
  fail_at?: SequenceNumber;
  request: number;
}

class HandlerFailed extends Error {
  constructor(readonly handled: bigint[]) {
    super("as it was told");
  }
}

const KINDS: Readonly<Record<string, string>> = {
  InvalidRequestError: "invalid_request",
  BatchTooLargeError: "batch_too_large",
  ConditionalAppendConflictError: "conflict",
  IdempotencyKeyReusedError: "idempotency_key_reused",
  UnavailableError: "unavailable",
  ServerBusyError: "server_busy",
  StoreFullError: "store_full",
  OutcomeUnknownError: "outcome_unknown",
  DeadlineExceededError: "deadline_exceeded",
  UnauthenticatedError: "unauthenticated",
  PermissionDeniedError: "permission_denied",
  NotImplementedError: "not_implemented",
  CursorAheadOfLogError: "cursor_ahead_of_log",
  LogDivergedError: "log_diverged",
  DurableStreamActiveError: "durable_stream_active",
  QueryMismatchError: "query_mismatch",
  LeaseLostError: "lease_lost",
  DurableStreamNotFoundError: "durable_stream_not_found",
  StoreClosedError: "closed",
  ServerError: "server_error",
};

type Stream = LiveStream | DurableStream;

const stores = new Map<string, EventStore>();
const streams = new Map<string, Stream>();
const delivered = new Map<Stream, Map<bigint, DurableBatch>>();
const underWay = new Map<number, AbortController>();

const operations: Record<string, (a: Arguments, signal: AbortSignal) => unknown> = {
  connect(a) {
    const options = {
      tls: typeof a.tls === "object" ? { ...a.tls, serverName: a.tls.server_name } : a.tls,
      token: a.token,
      allowPlaintextToken: a.allow_plaintext_token,
      timeout: a.timeout_ms,
      retries: {
        limit: a.retries?.limit,
        firstDelay: a.retries?.first_delay_ms,
        longestDelay: a.retries?.longest_delay_ms,
      },
    };
    stores.set(a.store, connect(a.target, options));
    return {};
  },

  async close(a) {
    await named(stores, a.store).close();
    return {};
  },

  async append(a, signal) {
    const options = { idempotencyKey: a.idempotency_key, timeout: a.timeout_ms, signal };
    return shownAppend(await named(stores, a.store).append(events(a.events), options));
  },

  async append_if(a, signal) {
    const options = { idempotencyKey: a.idempotency_key, timeout: a.timeout_ms, signal };
    const expected = a.expected_context_version ?? undefined;
    return shownAppend(
      await named(stores, a.store).appendIf(events(a.events), query(a.query), expected, options),
    );
  },

  async query(a, signal) {
    const { limit, order, before, timeout_ms: timeout } = a;
    const result = named(stores, a.store).query(query(a.query), { limit, order, before, timeout, signal });
    const records = [];
    for await (const record of result) {
      records.push(shownRecord(record));
    }
    return {
      event_records: records,
      context_version: (await result.contextVersion()) ?? null,
      last_returned_sequence_number: result.lastReturnedSequenceNumber ?? null,
    };
  },

  async decide(a, signal) {
    const store = named(stores, a.store);
    let decisions = 0;
    const appended = await store.decide(
      query(a.query),
      async ({ records }) => {
        decisions += 1;
        if (a.interfere !== undefined && decisions <= a.interfere.times) {
          await store.append(events(a.interfere.events));
        }
        const last = records.at(-1);
        return last !== undefined && last.eventType === a.unless_last ? undefined : events(a.events);
      },
      { attempts: a.attempts, signal },
    );
    return { decisions, appended: appended === undefined ? null : shownAppend(appended) };
  },

  async stream(a, signal) {
    const store = named(stores, a.store);
    const options = { after: a.after, giveUpAfter: a.give_up_after_ms, signal };
    const stream = await (a.query === undefined
      ? store.streamAll(options)
      : store.streamTo(query(a.query), options));
    streams.set(a.stream, stream);
    return { position: stream.position };
  },

  async durable(a, signal) {
    const store = named(stores, a.store);
    const options = {
      start: a.start,
      maxUnacknowledgedBatches: a.max_unacknowledged_batches,
      waitForLease: a.wait_for_lease,
      giveUpAfter: a.give_up_after_ms,
      signal,
    };
    const stream = await (a.query === undefined
      ? store.streamAllDurable(a.name, options)
      : store.streamToDurable(a.name, query(a.query), options));
    streams.set(a.stream, stream);
    return { cursor: stream.cursor, lease_epoch: stream.leaseEpoch };
  },

  async next(a, signal) {
    const stream = named(streams, a.stream);
    const { value } = await stream.next({ signal });
    if (value === undefined) {
      throw new Closed("the stream is closed");
    }
    return { batch: shownBatch(stream, value), position: stream.position };
  },

  async until_caught_up(a, signal) {
    const stream = named(streams, a.stream);
    const batches = [];
    const upToHead: AsyncIterable<CommittedBatch> = stream.untilCaughtUp({ signal });
    for await (const batch of upToHead) {
      batches.push(shownBatch(stream, batch));
    }
    return { batches, position: stream.position };
  },

  async acknowledge(a, signal) {
    const stream = named(streams, a.stream) as DurableStream;
    const batch = delivered.get(stream)?.get(BigInt(a.last_sequence_number));
    if (batch === undefined) {
      throw new Error("there was no such batch");
    }
    return { cursor: await stream.acknowledge(batch, { signal }) };
  },

  async close_stream(a) {
    await named(streams, a.stream).close();
    return {};
  },

  async project(a, signal) {
    const handled: bigint[] = [];
    const handler = ({ lastSequenceNumber }: DurableBatch): void => {
      if (a.fail_at !== undefined && lastSequenceNumber === BigInt(a.fail_at)) {
        throw new HandlerFailed(handled);
      }
      handled.push(lastSequenceNumber);
    };
    const options = { stopWhenCaughtUp: true, signal };
    await named(stores, a.store).project(a.name, query(a.query), handler, options);
    return { handled };
  },

  cancel(a) {
    underWay.get(a.request)?.abort();
    return {};
  },
};

class Closed extends Error {}

function named<T>(known: Map<string, T>, name: string): T {
  const found = known.get(name);
  if (found === undefined) {
    throw new Error(`there is no ${name}`);
  }
  return found;
}

function events(written: WrittenEvent[]): NewEvent[] {
  return written.map(({ event_type: eventType, payload, payload_text: text, metadata }) => ({
    eventType,
    payload: text === undefined ? (payload ?? null) : new JsonText(text),
    metadata,
  }));
}

function query({ filters = [], min_sequence_number: after }: WrittenQuery = {}): EventQuery {
  const alternatives = filters.map(({ event_types: eventTypes, payload_predicates: payloadAny }) =>
    where({ eventTypes, payloadAny }),
  );
  const joined = alternatives.length === 0 ? everything : alternatives.reduce((one, other) => one.or(other));
  return after === undefined ? joined : joined.after(after);
}

function shownMoment(microseconds: bigint): string {
  const toTheMillisecond = new Date(Number(microseconds / 1_000n)).toISOString();
  return toTheMillisecond.replace("Z", `${String(microseconds % 1_000n).padStart(3, "0")}Z`);
}

function shownAppend(result: AppendResult): object {
  return {
    first_sequence_number: result.firstSequenceNumber,
    last_sequence_number: result.lastSequenceNumber,
    committed_count: result.committedCount,
    occurred_at: shownMoment(result.occurredAtMicroseconds),
    repeated_request: result.repeatedRequest,
  };
}

function shownRecord(record: EventRecord): object {
  return {
    sequence_number: record.sequenceNumber,
    occurred_at: shownMoment(record.occurredAtMicroseconds),
    event_type: record.eventType,
    payload: record.payload,
    payload_text: record.payloadText,
    metadata: record.metadata,
  };
}

function shownBatch(stream: Stream, batch: CommittedBatch): object {
  const shown = {
    first_sequence_number: batch.firstSequenceNumber,
    last_sequence_number: batch.lastSequenceNumber,
    event_records: batch.eventRecords.map(shownRecord),
  };
  if (!isDurable(batch)) {
    return shown;
  }
  const batches = delivered.get(stream) ?? new Map<bigint, DurableBatch>();
  delivered.set(stream, batches.set(batch.lastSequenceNumber, batch));
  return { ...shown, lease_epoch: batch.leaseEpoch };
}

function isDurable(batch: CommittedBatch): batch is DurableBatch {
  return "leaseEpoch" in batch;
}

function shownError(error: unknown, signal: AbortSignal): object {
  if (error instanceof FactstrError) {
    return {
      kind: KINDS[error.name] ?? "other",
      code: error.code,
      reason: error.reason ?? null,
      message: error.message,
      metadata: error.metadata,
      field_violations: error.fieldViolations,
      ...(error instanceof ConditionalAppendConflictError && {
        expected: error.expected ?? null,
        actual: error.actual ?? null,
      }),
      ...(error instanceof OutcomeUnknownError && { idempotency_key: error.idempotencyKey ?? null }),
    };
  }
  const message = String(error);
  if (error instanceof HandlerFailed) {
    return { kind: "handler", message, handled: error.handled };
  }
  if (signal.aborted && error === signal.reason) {
    return { kind: "cancelled", message };
  }
  return { kind: error instanceof Closed ? "closed" : isUsage(error) ? "usage" : "defect", message };
}

/** Tells whether the client has refused the arguments. */
function isUsage(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError;
}

/** As the client reads payloads: integers beyond 2^53 as bigint. */
function parseNumber(text: string): bigint | number {
  const number = Number(text);
  return /^-?\d+$/.test(text) && !Number.isSafeInteger(number) ? BigInt(text) : number;
}

async function answer(line: string): Promise<void> {
  const { id, do: what, ...rest } = parse(line, null, { parseNumber }) as { id: number; do: string };
  const controller = new AbortController();
  underWay.set(id, controller);
  let said: object;
  try {
    const operation = operations[what] ?? (() => Promise.reject(new Error(`there is no ${what}`)));
    said = { result: await operation(rest as Arguments, controller.signal) };
  } catch (error) {
    said = { error: shownError(error, controller.signal) };
  }
  underWay.delete(id);
  process.stdout.write(`${stringify({ id, ...said }) ?? ""}\n`);
}

for await (const line of createInterface(process.stdin)) {
  void answer(line);
}
await Promise.all([...stores.values()].map((store) => store.close()));
