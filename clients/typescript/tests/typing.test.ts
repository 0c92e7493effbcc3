/** What the types let a caller write. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { type Context, everything, type NewEvent, where } from "@factstr/client";

interface Registered {
  tool: { id: string };
  note?: string;
}

const registered: Registered = { tool: { id: "drill-1" } };

/** A decision: each tool once. */
function register({ records }: Context): NewEvent | undefined {
  const isKnown = records.some(({ payload }) => (payload as Registered).tool.id === registered.tool.id);
  return isKnown ? undefined : { eventType: "tool-registered", payload: registered };
}

test("a decision is tested with a context that the test writes", () => {
  const record = {
    sequenceNumber: 1n,
    occurredAt: new Date(0),
    occurredAtMicroseconds: 0n,
    eventType: "tool-registered",
    payload: registered,
    payloadText: JSON.stringify(registered),
    metadata: {},
  };
  assert.equal(register({ records: [record], version: 1n }), undefined);
  assert.equal(register({ records: [], version: undefined })?.payload, registered);
});

test("payloads and predicates may have the type of an interface", () => {
  const predicates: readonly Registered[] = [registered];
  assert.doesNotThrow(() =>
    where({ payload: registered })
      .or(where({ payloadAny: predicates }))
      .or(everything),
  );
});
