/** The testing module: a server that lives as long as its test. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { connect, UnavailableError } from "@factstr/client";
import { startServer } from "@factstr/client/testing";

test("each server has an empty store of its own", async () => {
  await using one = await startServer();
  await using other = await startServer();
  await using store = connect(one.target);
  await using otherStore = connect(other.target);
  await store.append({ eventType: "a", payload: 1 });
  assert.equal((await store.readContext()).version, 1n);
  assert.equal((await otherStore.readContext()).version, undefined);
});

test("a server that is stopped is gone, and stopping it again is harmless", async () => {
  const server = await startServer();
  await server.stop();
  await server.stop();
  await using store = connect(server.target, { retries: { limit: 0 } });
  await assert.rejects(store.readContext(), UnavailableError);
});

test("a server ends with a process that is killed", async () => {
  const program = `
    import { startServer } from "@factstr/client/testing";
    console.log((await startServer()).target);
  `;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [target] = (await once(createInterface(child.stdout), "line")) as [string];
  const socket = connectSocket(Number(target.split(":").at(-1)), "127.0.0.1");
  await once(socket, "connect");
  child.kill("SIGKILL");
  // It closes its connections, or they would stay.
  socket.resume();
  await once(socket, "close");
});

test("what does not start says why", async () => {
  const before = process.env["FACTSTR_SERVER"];
  try {
    process.env["FACTSTR_SERVER"] = `"${process.execPath}" -e "console.error('no luck')" --`;
    await assert.rejects(startServer(), /the server did not start: no luck/);
    process.env["FACTSTR_SERVER"] = "/nowhere/factstr-server";
    await assert.rejects(startServer(), {
      message:
        "there is no /nowhere/factstr-server: install factstr-server, or name its command in FACTSTR_SERVER",
    });
    process.env["FACTSTR_SERVER"] = "";
    const path = process.env["PATH"];
    process.env["PATH"] = "/nowhere";
    try {
      await assert.rejects(startServer(), /there is no factstr-server: /);
    } finally {
      process.env["PATH"] = path;
    }
  } finally {
    if (before === undefined) {
      delete process.env["FACTSTR_SERVER"];
    } else {
      process.env["FACTSTR_SERVER"] = before;
    }
  }
});
