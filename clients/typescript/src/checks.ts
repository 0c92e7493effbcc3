/** Owns what is said of an argument that cannot be meant: its name, what was given, and what would be right. */

/** A sequence number, or another unsigned number of 64 bits, as a caller may give it. */
export type SequenceNumber = bigint | number;

const MOST = 2n ** 64n - 1n;

/**
 * Returns the number as the wire has it.
 *
 * @throws {TypeError} when it is no number, or one whose digits a `number` does not hold
 * @throws {RangeError} when it is not from 0 to 2^64 - 1
 */
export function checkedNumber(name: string, value: SequenceNumber): bigint {
  if (typeof value !== "bigint" && !Number.isSafeInteger(value)) {
    throw new TypeError(
      `${name} is ${shown(value)}; it must be a bigint, or an integer that a number holds exactly`,
    );
  }
  if (value < 0 || value > MOST) {
    throw new RangeError(`${name} is ${String(value)}; it must be from 0 to 2^64 - 1`);
  }
  return BigInt(value);
}

/** As `checkedNumber`, for a number that may be left out. */
export function checkedOptional(name: string, value: SequenceNumber | undefined): bigint | undefined {
  return value === undefined ? undefined : checkedNumber(name, value);
}

/** Returns the number. Throws a RangeError when it is no integer from `least` to 2^32 - 1. */
export function checkedInteger(name: string, value: number, least = 0): number {
  if (!Number.isInteger(value) || value < least || value >= 2 ** 32) {
    throw new RangeError(`${name} is ${shown(value)}; it must be an integer from ${least} to 2^32 - 1`);
  }
  return value;
}

/** Returns the time; infinite is none. Throws a RangeError when it is no number of milliseconds above 0. */
export function checkedMilliseconds(name: string, value: number): number {
  if (typeof value !== "number" || !(value > 0)) {
    throw new RangeError(`${name} is ${shown(value)}; it must be more than 0 milliseconds, or Infinity`);
  }
  return value;
}

/** Returns the delay. Throws a RangeError when it is no finite number of milliseconds from 0. */
export function checkedDelay(name: string, value: number): number {
  if (!Number.isFinite(value) || value < 0) {
    throw new RangeError(`${name} is ${shown(value)}; it must be 0 milliseconds or more, and finite`);
  }
  return value;
}

/**
 * Returns the text; its limits are checked by the server.
 *
 * @throws {TypeError} when it is none, or holds a lone surrogate, which the wire would silently replace
 */
export function checkedText(name: string, value: string): string {
  if (typeof value !== "string") {
    throw new TypeError(`${name} is ${shown(value)}; it must be a string`);
  }
  if (!value.isWellFormed()) {
    throw new TypeError(`${name} is ${shown(value)}; it holds a lone surrogate`);
  }
  return value;
}

function shown(value: unknown): string {
  return typeof value === "string"
    ? JSON.stringify(value.slice(0, 64))
    : `${String(value)} (${typeof value})`;
}
