/**
 * Owns the way between values and JSON texts, without losing a digit of an integer.
 *
 * A payload is stored byte for byte, so its text is made exactly once.
 */
import { parse, stringify } from "lossless-json";

import { checkedText } from "./checks.js";

/**
 * What a payload or a predicate may be given as. A `bigint` is an integer to the last digit. Members of an object that
 * are `undefined` are left out, as `JSON.stringify` does.
 */
export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined };

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
 * `undefined` but in an object, and a value that holds itself
 */
export function toJsonText(name: string, value: JsonValue | JsonText): string {
  if (value instanceof JsonText) {
    return value.text;
  }
  function sayable(this: unknown, _key: string, part: unknown): unknown {
    const isNothing = part === undefined && Array.isArray(this);
    if (isNothing || typeof part === "function" || typeof part === "symbol" || part instanceof JsonText) {
      throw new TypeError(
        `${name} holds what is no JSON value: ${part instanceof JsonText ? "a JsonText" : typeof part}`,
      );
    }
    if (typeof part === "number" && !Number.isFinite(part)) {
      throw new TypeError(`${name} holds ${part}, which is no JSON number`);
    }
    return part;
  }
  let text: string | undefined;
  try {
    text = stringify(value, sayable);
  } catch (error) {
    throw error instanceof RangeError
      ? new TypeError(`${name} nests too deeply, or holds itself; at most 64 levels are allowed`, {
          cause: error,
        })
      : error;
  }
  if (text === undefined) {
    throw new TypeError(`${name} is undefined, which is no JSON value`);
  }
  return text;
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
