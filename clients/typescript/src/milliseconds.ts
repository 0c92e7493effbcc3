/** Owns durations of the wire as numbers. */
import type { Duration } from "./generated/google/protobuf/duration.js";

export function milliseconds({ seconds, nanos }: Duration): number {
  return Number(seconds) * 1e3 + nanos / 1e6;
}
