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
  ];
  for (const value of [...refused, [new JsonText("1")]]) {
    assert.throws(() => text(value), TypeError);
  }
  assert.throws(() => new JsonText("\ud800"), TypeError);
});
