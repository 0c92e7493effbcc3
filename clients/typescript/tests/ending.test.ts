/** What an abort signal, or the store's end, means for a call that is under way. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { after, before, test } from "node:test";

import { connect, everything, OutcomeUnknownError, StoreClosedError } from "@factstr/client";
import { startServer, type TestServer } from "@factstr/client/testing";

const EVENT = { eventType: "a", payload: 1 };
let server: TestServer;

before(async () => {
  server = await startServer();
});

after(() => server.stop());

/** An address that takes connections and never says anything. */
async function silence(): Promise<{ target: string } & AsyncDisposable> {
  const listener = createServer((socket) => socket.on("error", () => undefined).resume()).listen(
    0,
    "127.0.0.1",
  );
  await once(listener, "listening");
  const address = listener.address();
  assert.ok(typeof address === "object" && address !== null);
  return {
    target: `127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      listener.close();
      await Promise.resolve();
    },
  };
}

test("a signal that has aborted before sends nothing", async () => {
  await using store = connect(server.target);
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  await assert.rejects(store.append(EVENT, { signal }), reason);
  await assert.rejects(store.readContext(everything, { signal }), reason);
  await assert.rejects(store.streamAll({ signal }), reason);
  assert.equal((await store.readContext()).version, undefined);
});

test("an append that is cut off may have been committed, and says so", async () => {
  await using nobody = await silence();
  const store = connect(nobody.target);
  const controller = new AbortController();
  const appending = store.append(EVENT, { signal: controller.signal, idempotencyKey: "k" });
  controller.abort();
  await assert.rejects(appending, (error) => {
    assert.ok(error instanceof OutcomeUnknownError);
    assert.equal(error.cause, controller.signal.reason);
    assert.equal(error.idempotencyKey, "k");
    return true;
  });
  const closed = store.append(EVENT);
  await store.close();
  await assert.rejects(closed, OutcomeUnknownError);
});

test("an append that is cut off by another's error leaves that as it was", async () => {
  await using nobody = await silence();
  await using store = connect(nobody.target);
  const anothers = new OutcomeUnknownError("lost", { code: "UNAVAILABLE" }, "another's");
  const controller = new AbortController();
  const appending = store.append(EVENT, { signal: controller.signal, idempotencyKey: "mine" });
  controller.abort(anothers);
  await assert.rejects(appending, { name: "OutcomeUnknownError", idempotencyKey: "mine", cause: anothers });
  assert.equal(anothers.idempotencyKey, "another's");
  const signal = AbortSignal.abort(anothers);
  await assert.rejects(store.append(EVENT, { signal }), (error) => error === anothers);
  assert.equal(anothers.idempotencyKey, "another's");
});

test("reads that are cut off get the reason, also while they wait for a repetition", async () => {
  await using nobody = await silence();
  const store = connect(nobody.target, { retries: { firstDelay: 10_000, longestDelay: 10_000 } });
  const controller = new AbortController();
  const reading = store.readContext(everything, { signal: controller.signal });
  controller.abort();
  await assert.rejects(reading, { name: "AbortError" });
  const closed = store.query().next();
  await store.close();
  await assert.rejects(closed, StoreClosedError);
});

test("a stream ends with its signal, for whoever is reading it", async () => {
  await using store = connect(server.target);
  const controller = new AbortController();
  const stream = await store.streamAll({ signal: controller.signal });
  const next = stream.next();
  controller.abort();
  await assert.rejects(next, { name: "AbortError" });
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
});

test("a loop over a stream that is left closes it; one up to the head does not", async () => {
  await using store = connect(server.target);
  await store.append(EVENT);
  const stream = await store.streamAll({ after: 0 });
  for await (const batch of stream.untilCaughtUp()) {
    assert.equal(batch.firstSequenceNumber, 1n);
    break;
  }
  await store.append(EVENT);
  for await (const batch of stream) {
    assert.equal(batch.firstSequenceNumber, 2n);
    break;
  }
  assert.equal((await stream.next()).done, true);
});

test("calls on the stubs carry on until the store is closed", async () => {
  const store = connect(server.target);
  const call = store.stubs.eventStore.streamAll({ afterSequenceNumber: 0n });
  await once(call, "data");
  const [error] = (await Promise.all([once(call, "error").catch((e: unknown) => [e]), store.close()]))[0] as [
    Error,
  ];
  assert.match(error.message, /the store was closed/);
});

test("a result that was closed before it began knows no version", async () => {
  await using store = connect(server.target);
  const result = store.query();
  await result.close();
  assert.equal((await result.next()).done, true);
  await assert.rejects(result.contextVersion(), StoreClosedError);
});
