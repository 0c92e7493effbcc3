/** Events and records on their way over the wire, and keys. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ReceivedRecord, toAppendResult, toNewEvents } from "./event.js";
import { EventRecord as Message, NewEvent as NewMessage } from "./generated/factstr/v1/event.js";
import { keyFor } from "./appending.js";

test("a record keeps its microseconds, its text, and all its metadata", () => {
  const metadata = JSON.parse('{"__proto__": "x", "desk": "north"}') as Record<string, string>;
  const [sent] = toNewEvents({ eventType: "a", payload: 18446744073709551615n, metadata });
  assert.ok(sent);
  const { payload, metadata: received } = NewMessage.decode(NewMessage.encode(sent).finish());
  const record = new ReceivedRecord(
    Message.fromPartial({
      sequenceNumber: 1n,
      occurredAt: { seconds: 4_000_000_000n, nanos: 123_456_000 },
      payload,
      metadata: received,
    }),
  );
  assert.equal(record.occurredAtMicroseconds, 4_000_000_000_123_456n);
  assert.equal(record.occurredAt.toISOString(), "2096-10-02T07:06:40.123Z");
  assert.equal(record.payload, 18446744073709551615n);
  assert.equal(record.payloadText, "18446744073709551615");
  assert.deepEqual(record.metadata, metadata);
});

test("a text that the wire cannot carry is refused, not replaced", () => {
  assert.throws(() => toNewEvents({ eventType: "\ud800", payload: 1 }), /events\[0\]\.eventType/);
  assert.throws(
    () => toNewEvents([{ eventType: "a", payload: 1, metadata: { k: "\udc00" } }]),
    /metadata\["k"\]/,
  );
});

test("without a key of the caller's an answer never says that it is a repeat", () => {
  const answer = {
    firstSequenceNumber: 1n,
    lastSequenceNumber: 1n,
    committedCount: 1n,
    occurredAt: undefined,
  };
  assert.equal(toAppendResult({ ...answer, repeatedRequest: true }, false).repeatedRequest, false);
  assert.equal(toAppendResult({ ...answer, repeatedRequest: true }, true).repeatedRequest, true);
});

test("keys are made where something is repeated, each another", () => {
  assert.match(keyFor(undefined, true) ?? "", /^[\da-f-]{36}$/);
  assert.notEqual(keyFor(undefined, true), keyFor(undefined, true));
  assert.equal(keyFor(undefined, false), undefined);
  assert.equal(keyFor("mine", false), "mine");
  assert.throws(() => keyFor("", true), TypeError);
});
