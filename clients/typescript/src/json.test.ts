/** JSON values and texts: every digit of an integer, and nothing that turns into something else. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { JsonText, type JsonValue, parseJson, toJsonText } from "./json.js";

const text = (value: unknown): string => toJsonText("it", value as JsonValue);

test("integers keep every digit, in and out", () => {
  for (const digits of [
    "9007199254740993",
    "-9223372036854775808",
    "18446744073709551615",
    `1${"0".repeat(99)}`,
  ]) {
    assert.equal(parseJson(digits), BigInt(digits));
    assert.equal(text(BigInt(digits)), digits);
    assert.deepEqual(parseJson(`{"n":[${digits}]}`), { n: [BigInt(digits)] });
  }
  assert.equal(text(7n), "7");
});

test("all other numbers are numbers", () => {
  assert.deepEqual(
    parseJson("[9007199254740991, 1e3, -0.5, 1.00000000000000000001, 1234567890.5]"),
    [9007199254740991, 1000, -0.5, 1, 1234567890.5],
  );
  assert.equal(text([0.1, 1e21, -0]), "[0.1,1e+21,0]");
});

test("a text reads the same with and without long integers", () => {
  const members = String.raw`"a":1,"a":{"__proto__":"é\ud83d\ude00\n"},"t":"1234567890123456"`;
  const short = parseJson(`{${members.replace("1234567890123456", "1")}}`);
  const long = parseJson(`{${members}}`);
  assert.deepEqual({ ...(long as object), t: "1" }, short);
  assert.deepEqual(Object.entries((long as { a: object }).a), [["__proto__", "é😀\n"]]);
});

test("values become compact texts, and a JsonText stays as it is", () => {
  assert.equal(text({ b: [1, null, true, "é\n"], a: undefined, c: {} }), '{"b":[1,null,true,"é\\n"],"c":{}}');
  assert.equal(text(new JsonText('{ "n": 1.0 }')), '{ "n": 1.0 }');
});

test("an object with a toJSON stands for what that returns", () => {
  const when = new Date(0);
  const named = { toJSON: (key: string) => (key === "out" ? undefined : `of ${key}`) };
  assert.equal(text({ when, in: named, out: named }), '{"when":"1970-01-01T00:00:00.000Z","in":"of in"}');
  assert.equal(text({ toJSON: () => ({ n: 1n }) }), '{"n":1}');
  assert.equal(
    text(Object.assign(Object.create(null), { isLosslessNumber: true })),
    '{"isLosslessNumber":true}',
  );
});

test("what JSON cannot say is refused, and never made another value", () => {
  const itself: unknown[] = [];
  itself.push(itself);
  const refused = [
    undefined,
    NaN,
    [Infinity],
    { n: -Infinity },
    [undefined],
    () => 1,
    { f: () => 1 },
    Symbol("s"),
    itself,
    new Map([["n", 1]]),
    { s: new Set([1]) },
    [/n/],
    new Uint8Array(1),
    Promise.resolve(1),
    new (class {
      n = 1;
    })(),
    { toJSON: () => new Map() },
    // An array with nothing at its place.
    new Array(1),
  ];
  for (const value of [...refused, [new JsonText("1")]]) {
    assert.throws(() => text(value), TypeError);
  }
  assert.throws(() => new JsonText("\ud800"), TypeError);
});
