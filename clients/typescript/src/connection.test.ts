/** Targets, tokens, and what `connect` refuses. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { connection, type ConnectOptions } from "./connection.js";

const to = (target: string, options: ConnectOptions = {}) => connection(target, options);
const proxied = (target: string): boolean => to(target).options["grpc.enable_http_proxy"] !== 0;

test("a target is host:port, [v6 address]:port, or unix:/path", () => {
  assert.equal(to("facts.example:50051").address, "dns:facts.example:50051");
  assert.equal(to("unix:50051").address, "dns:unix:50051");
  assert.equal(to("[fe80::1]:1").address, "dns:[fe80::1]:1");
  assert.equal(to("unix:/run/factstr.sock").address, "unix:/run/factstr.sock");
  const wrong = [
    "",
    "localhost",
    "localhost:",
    ":1",
    "localhost:0",
    "localhost:65536",
    "a:1:2",
    "::1:50051",
    "[::1]",
    "[1.2.3.4]:1",
  ];
  for (const target of [
    ...wrong,
    "a b:1",
    "http://localhost:1",
    "dns:a:1",
    "ipv4:127.0.0.1:1",
    "unix:relative",
    "a:1,b:1",
  ]) {
    assert.throws(() => to(target), TypeError, target);
  }
});

test("what stays on this machine needs no TLS for a token, and no proxy", () => {
  for (const target of ["localhost:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/run/s"]) {
    assert.equal(to(target, { token: "t" }).authorization, "Bearer t");
    assert.equal(proxied(target), false);
  }
  for (const target of [
    "facts.example:1",
    "10.0.0.1:1",
    "[fe80::1]:1",
    "localhost.example:1",
    "127.0.0.1.example:1",
  ]) {
    assert.throws(() => to(target, { token: "t" }), /plaintext/);
    assert.equal(to(target, { token: "t", tls: true }).authorization, "Bearer t");
    assert.equal(to(target, { token: "t", allowPlaintextToken: true }).authorization, "Bearer t");
    assert.equal(proxied(target), true);
  }
});

test("a file that cannot be read or used is refused at once, by its name", () => {
  const readme = new URL("../README.md", import.meta.url);
  assert.throws(() => to("localhost:1", { tls: { ca: "nowhere.pem" } }), {
    name: "TypeError",
    message: /nowhere\.pem/,
  });
  assert.throws(() => to("localhost:1", { tls: { ca: readme } }), {
    name: "TypeError",
    message: /tls\.ca.*README\.md/,
  });
  assert.throws(() => to("localhost:1", { tls: { cert: readme, key: readme } }), TypeError);
});

test("what cannot be meant is refused at once", () => {
  assert.throws(() => to("localhost:1", { token: "two words" }), TypeError);
  assert.throws(() => to("localhost:1", { token: "" }), TypeError);
  assert.throws(() => to("localhost:1", { token: "tökén" }), TypeError);
  assert.throws(() => to("localhost:1", { token: "secret\n" }), TypeError);
  assert.throws(() => to("localhost:1", { tls: { key: "k.pem" } }), TypeError);
  for (const timeout of [0, -1, NaN, -Infinity]) {
    assert.throws(() => to("localhost:1", { timeout }), RangeError);
  }
  assert.equal(to("localhost:1", { timeout: Infinity }).timeout, Infinity);
  assert.throws(() => to("localhost:1", { retries: { limit: -1 } }), RangeError);
  assert.throws(() => to("localhost:1", { retries: { firstDelay: NaN } }), RangeError);
  assert.throws(() => to("localhost:1", { retries: { longestDelay: -1 } }), RangeError);
  assert.deepEqual(to("localhost:1", { retries: { firstDelay: 0 } }).retries, {
    limit: 20,
    firstDelay: 0,
    longestDelay: 2_000,
  });
});
