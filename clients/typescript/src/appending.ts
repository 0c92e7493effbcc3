/** Owns the requests of appends as bytes, made once for all attempts, and their idempotency keys. */
import { randomUUID } from "node:crypto";

import { checkedText } from "./checks.js";
import { BatchTooLargeError } from "./errors.js";

/** Bytes of one request. Beyond it gRPC refuses on the server's side, with a bare status that leaves the outcome open. */
const MOST_BYTES = 16 * 2 ** 20;

/**
 * Returns the caller's key, or where something is repeated one for this append alone, so that it can be.
 *
 * @throws {TypeError} for an empty key: on the wire it is none, and a repetition would not be safe
 */
export function keyFor(given: string | undefined, isRepeated: boolean): string | undefined {
  if (given === "") {
    throw new TypeError("idempotencyKey is empty; give 1 to 200 characters, or none");
  }
  return given === undefined ? (isRepeated ? randomUUID() : undefined) : checkedText("idempotencyKey", given);
}

/** Returns the bytes. Throws a BatchTooLargeError when no server would take them in. */
export function ofPossibleSize(request: Buffer): Buffer {
  const { length } = request;
  if (length > MOST_BYTES) {
    throw new BatchTooLargeError(
      `events: a request of ${length} bytes; it takes at most ${MOST_BYTES}, split it`,
      {
        code: "INVALID_ARGUMENT",
        reason: "BATCH_TOO_LARGE",
        metadata: { limit_name: "max_request_bytes", limit: String(MOST_BYTES), actual: String(length) },
      },
    );
  }
  return request;
}
