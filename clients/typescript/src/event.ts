/** Owns facts as values: events to append, records that were read, and what an append answered. */
import { checkedText } from "./checks.js";
import type * as wire from "./generated/factstr/v1/event.js";
import type { AppendResponse } from "./generated/factstr/v1/event_store_service.js";
import type { Timestamp } from "./generated/google/protobuf/timestamp.js";
import { type JsonText, type JsonValue, parseJson, toJsonText } from "./json.js";

/** A fact to append. The limits of the contract are checked by the server. */
export interface NewEvent {
  /** What happened: 1 to 256 characters, for example `tool-registered`. */
  readonly eventType: string;
  /** Any JSON value, or a `JsonText`, which is stored byte for byte. */
  readonly payload: JsonValue | JsonText;
  /** Anything about the fact that no query selects by. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/** One event or several: one batch, all or none. */
export type NewEvents = NewEvent | readonly NewEvent[];

/** A committed fact. It never changes. A decision's test writes its own, as plain objects. */
export interface EventRecord {
  /** Its place in the one global order: from 1, without gaps. */
  readonly sequenceNumber: bigint;
  /** When its batch was committed, by the store's clock, in microseconds since 1970 in UTC. It is not the order. */
  readonly occurredAtMicroseconds: bigint;
  /** What happened. */
  readonly eventType: string;
  /** The payload as it was appended, byte for byte. */
  readonly payloadText: string;
  /** The metadata as it was appended. */
  readonly metadata: Readonly<Record<string, string>>;
  /** When its batch was committed, to the millisecond. */
  readonly occurredAt: Date;
  /**
   * The payload as a value, parsed when first asked for: integers beyond 2^53 are `bigint`, all other numbers `number`.
   * Check it as anything from outside, or say with `as` what you know it is.
   */
  readonly payload: unknown;
}

/** A record as it was received. */
export class ReceivedRecord implements EventRecord {
  readonly sequenceNumber: bigint;
  readonly occurredAtMicroseconds: bigint;
  readonly eventType: string;
  readonly payloadText: string;
  readonly metadata: Readonly<Record<string, string>>;
  #payload: { readonly value: unknown } | undefined;

  constructor(message: wire.EventRecord) {
    this.sequenceNumber = message.sequenceNumber;
    this.occurredAtMicroseconds = microseconds(message.occurredAt);
    this.eventType = message.eventType;
    this.payloadText = message.payload;
    this.metadata = Object.fromEntries(message.metadata);
  }

  get occurredAt(): Date {
    return dateOf(this.occurredAtMicroseconds);
  }

  get payload(): unknown {
    this.#payload ??= { value: parseJson(this.payloadText) };
    return this.#payload.value;
  }
}

/** What an append committed: one consecutive range of sequence numbers, all at one time. */
export interface AppendResult {
  /** Of the first event. */
  readonly firstSequenceNumber: bigint;
  /** Of the last event. */
  readonly lastSequenceNumber: bigint;
  /** How many there are. */
  readonly committedCount: bigint;
  /** When they were committed, to the millisecond. */
  readonly occurredAt: Date;
  /** The same in microseconds since 1970 in UTC. */
  readonly occurredAtMicroseconds: bigint;
  /**
   * Whether the caller's idempotency key had been used by the same request before: then this is the first result again,
   * and nothing was committed now.
   */
  readonly repeatedRequest: boolean;
}

/** The facts that a query selected, to decide on. */
export interface Context {
  /** All of them, oldest first. */
  readonly records: readonly EventRecord[];
  /** The version of the context that they are; `undefined` when no fact matches. */
  readonly version: bigint | undefined;
}

/** Returns one event or several as messages. Throws a TypeError for what the wire or JSON cannot say. */
export function toNewEvents(events: NewEvents): wire.NewEvent[] {
  return (isSeveral(events) ? events : [events]).map(({ eventType, payload, metadata = {} }, index) => ({
    eventType: checkedText(`events[${index}].eventType`, eventType),
    payload: toJsonText(`events[${index}].payload`, payload),
    metadata: new Map(
      Object.entries(metadata).map(([key, value]) => [
        checkedText(`a key of events[${index}].metadata`, key),
        checkedText(`events[${index}].metadata[${JSON.stringify(key)}]`, value),
      ]),
    ),
  }));
}

// Array.isArray does not narrow a readonly array.
function isSeveral(events: NewEvents): events is readonly NewEvent[] {
  return Array.isArray(events);
}

/** Returns what was committed. Whose caller gave no key has asked once, however often the client did. */
export function toAppendResult(message: AppendResponse, isOwnKey: boolean): AppendResult {
  const occurredAtMicroseconds = microseconds(message.occurredAt);
  return {
    firstSequenceNumber: message.firstSequenceNumber,
    lastSequenceNumber: message.lastSequenceNumber,
    committedCount: message.committedCount,
    occurredAt: dateOf(occurredAtMicroseconds),
    occurredAtMicroseconds,
    repeatedRequest: isOwnKey && message.repeatedRequest,
  };
}

function microseconds(timestamp: Timestamp | undefined): bigint {
  return timestamp === undefined
    ? 0n
    : timestamp.seconds * 1_000_000n + BigInt(Math.trunc(timestamp.nanos / 1_000));
}

function dateOf(microsecondsSince1970: bigint): Date {
  return new Date(Number(microsecondsSince1970 / 1_000n));
}
