/**
 * Owns the way between values and JSON texts, without losing a digit of an integer.
 *
 * A payload is stored byte for byte, so its text is made exactly once.
 */
import { inspect } from "node:util";

import { parse } from "lossless-json";

import { checkedText } from "./checks.js";

/**
 * What a payload or a predicate may be given as. A `bigint` is an integer to the last digit. Members of an object that
 * are `undefined` are left out, and an object with a `toJSON` stands for what that returns, as `JSON.stringify` has it.
 * Arrays and objects may have any type, an interface too: what they hold is looked at when it is sent.
 */
export type JsonValue = null | boolean | number | bigint | string | object;

/** A JSON text that is sent as it is, byte for byte, in place of a value. */
export class JsonText {
  /** Takes the text as it is; the server checks that it is JSON. */
  constructor(readonly text: string) {
    checkedText("a JsonText", text);
  }
}

/**
 * Returns the compact JSON text of a value, or the text of a `JsonText`; `name` says whose it is.
 *
 * @throws {TypeError} for what JSON cannot say, and would make another fact of: NaN and infinity, functions, symbols,
 * `undefined` but in an object, objects of a class (a Map, a RegExp, ...), and a value that holds itself
 */
export function toJsonText(name: string, value: JsonValue | JsonText): string {
  if (value instanceof JsonText) {
    return value.text;
  }
  try {
    return textOf(name, "", value) ?? refuse(name, value);
  } catch (error) {
    throw error instanceof RangeError
      ? new TypeError(`${name} nests too deeply, or holds itself; at most 64 levels are allowed`, {
          cause: error,
        })
      : error;
  }
}

/** Returns the text of what is in `whose` value under a key; `undefined` when there is nothing. */
function textOf(whose: string, key: string, given: unknown): string | undefined {
  const value = standsForAnother(given) ? given.toJSON(key) : given;
  if (value === undefined) {
    return undefined;
  }
  if (typeof value === "bigint") {
    return String(value);
  }
  const isNumber = typeof value === "number" && Number.isFinite(value);
  if (value === null || typeof value === "string" || typeof value === "boolean" || isNumber) {
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) {
    // Array.from takes a place with nothing as undefined.
    const texts = Array.from(
      value,
      (part: unknown, index) => textOf(whose, String(index), part) ?? refuse(whose, part),
    );
    return `[${texts.join()}]`;
  }
  if (isPlainObject(value)) {
    const members = Object.entries(value).flatMap(([name, part]) => {
      const text = textOf(whose, name, part);
      return text === undefined ? [] : [`${JSON.stringify(name)}:${text}`];
    });
    return `{${members.join()}}`;
  }
  return refuse(whose, value);
}

function refuse(whose: string, value: unknown): never {
  throw new TypeError(`${whose} holds what is no JSON value: ${inspect(value, { depth: 0 }).slice(0, 64)}`);
}

function standsForAnother(value: unknown): value is { toJSON(key: string): unknown } {
  return (
    typeof value === "object" && value !== null && "toJSON" in value && typeof value.toJSON === "function"
  );
}

/** Tells whether no class has made it. Each realm has an `Object.prototype` of its own. */
function isPlainObject(value: unknown): value is object {
  if (typeof value !== "object" || value === null) {
    return false;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** Returns the value of a JSON text: integers beyond 2^53 as `bigint`, all other numbers as `number`. */
export function parseJson(text: string): unknown {
  // Where there are no 16 digits in a row there is no such integer, and the engine's own parser reads the same.
  return /\d{16}/.test(text)
    ? parse(text, null, { parseNumber, onDuplicateKey: ({ newValue }) => newValue })
    : JSON.parse(text);
}

function parseNumber(text: string): bigint | number {
  const number = Number(text);
  return /^-?\d+$/.test(text) && !Number.isSafeInteger(number) ? BigInt(text) : number;
}
