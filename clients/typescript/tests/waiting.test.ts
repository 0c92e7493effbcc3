/** Waits for a batch that are left, and projections that are cancelled: nothing is lost by either. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { connect, type DurableBatch, everything, StoreClosedError } from "@factstr/client";
import { startServer, type TestServer } from "@factstr/client/testing";

const EVENT = { eventType: "a", payload: 1 };
const enough = new Error("enough");
let server: TestServer;

before(async () => {
  server = await startServer();
});

after(() => server.stop());

test("a wait that is left takes no batch, whether it was the first or waited for its turn", async () => {
  await using store = connect(server.target);
  await using stream = await store.streamAll();
  const [first, second] = [new AbortController(), new AbortController()];
  const leaving = stream.next({ signal: first.signal });
  const queued = stream.next({ signal: second.signal });
  const staying = stream.next();
  second.abort(enough);
  await assert.rejects(queued, enough);
  first.abort(enough);
  await assert.rejects(leaving, enough);
  const { position } = stream;
  const { lastSequenceNumber } = await store.append(EVENT);
  assert.equal(lastSequenceNumber, position + 1n);
  assert.equal((await staying).value?.lastSequenceNumber, lastSequenceNumber);
  assert.equal(stream.position, lastSequenceNumber);
});

test("a batch is either returned or still to come, whenever the wait is left", async () => {
  await using store = connect(server.target);
  await using stream = await store.streamAll();
  let { position } = stream;
  for (let round = 0; round < 50; round += 1) {
    const controller = new AbortController();
    const waiting = stream.next({ signal: controller.signal }).then(
      ({ value }) => value,
      () => undefined,
    );
    const appended = store.append(EVENT);
    setTimeout(() => {
      controller.abort(enough);
    }, round % 10);
    const batch = (await waiting) ?? (await stream.next()).value;
    position += 1n;
    assert.equal(batch?.firstSequenceNumber, position);
    await appended;
  }
});

test("who asks at the same time gets one batch each, in order", async () => {
  await using store = connect(server.target);
  await using stream = await store.streamAll();
  const { position } = stream;
  const readers = [1n, 2n, 3n].map(async (n) => [n, (await stream.next()).value?.firstSequenceNumber]);
  await Promise.all([store.append(EVENT), store.append(EVENT), store.append(EVENT)]);
  assert.deepEqual(
    await Promise.all(readers),
    [1n, 2n, 3n].map((n) => [n, position + n]),
  );
});

test("the way to the head can be left, and taken up again", async () => {
  await using store = connect(server.target);
  await store.append(EVENT);
  await using stream = await store.streamAll({ after: 0 });
  await assert.rejects(stream.untilCaughtUp({ signal: AbortSignal.abort(enough) }).next(), enough);
  const batches = [];
  for await (const batch of stream.untilCaughtUp()) {
    batches.push(batch);
  }
  assert.equal(batches[0]?.firstSequenceNumber, 1n);
  assert.equal(batches.at(-1)?.lastSequenceNumber, stream.position);
  await stream.close();
  await assert.rejects(stream.untilCaughtUp().next(), StoreClosedError);
});

test("a projection that is cancelled acknowledges what it has handled, whether more has come or not", async () => {
  await using store = connect(server.target);
  await store.append(EVENT);
  const { lastSequenceNumber: head } = await store.append(EVENT);
  for (const last of [head - 1n, head]) {
    const name = `cancelled at ${last}`;
    const controller = new AbortController();
    const cancelling = async ({ lastSequenceNumber }: DurableBatch): Promise<void> => {
      if (lastSequenceNumber === last) {
        controller.abort(enough);
        // Long enough for the server to hear of it.
        await store.readContext();
      }
    };
    await assert.rejects(store.project(name, everything, cancelling, { signal: controller.signal }), enough);
    const handled: bigint[] = [];
    const handler = ({ lastSequenceNumber }: DurableBatch): void => {
      handled.push(lastSequenceNumber);
    };
    await store.project(name, everything, handler, { stopWhenCaughtUp: true });
    assert.deepEqual(handled, last === head ? [] : [head]);
  }
});

test("a projection that is cancelled while it is opened never begins", async () => {
  await using store = connect(server.target);
  const projecting = store.project("never", everything, () => assert.fail(), {
    signal: AbortSignal.abort(enough),
  });
  await assert.rejects(projecting, enough);
});
