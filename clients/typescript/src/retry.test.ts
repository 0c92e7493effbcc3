/** The arithmetic of repetitions. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Metadata, status } from "@grpc/grpc-js";

import { OutcomeUnknownError, ServerBusyError, UnavailableError } from "./errors.js";
import { type Appending, type Failure, Interrupted } from "./failure.js";
import { Any } from "./generated/google/protobuf/any.js";
import { ErrorInfo, RetryInfo } from "./generated/google/rpc/error_details.js";
import { Status } from "./generated/google/rpc/status.js";
import { Attempts, conflictDelay, LastingAttempts, retrySettings } from "./retry.js";

const settings = retrySettings();

/** A failure as the server says it. */
function refusal(code: status, reason: string, retryDelay = { seconds: 0n, nanos: 0 }): Failure {
  const details = [
    Any.fromPartial({
      typeUrl: "type.googleapis.com/google.rpc.ErrorInfo",
      value: ErrorInfo.encode({ domain: "factstr", reason, metadata: {} }).finish(),
    }),
    Any.fromPartial({
      typeUrl: "type.googleapis.com/google.rpc.RetryInfo",
      value: RetryInfo.encode({ retryDelay }).finish(),
    }),
  ];
  const metadata = new Metadata();
  const trailer = Status.encode({ code, message: "", details }).finish();
  metadata.set("grpc-status-details-bin", Buffer.from(trailer));
  return { code, details: "", metadata };
}

const busy = (seconds = 0n, nanos = 0): Failure =>
  refusal(status.RESOURCE_EXHAUSTED, "SERVER_BUSY", { seconds, nanos });
const lost = new Interrupted("lost");

test("delays double up to the longest, and half of each is random", () => {
  const attempts = new Attempts({ ...settings, limit: 100 }, undefined);
  for (const longest of [50, 100, 200, 400, 800, 1600, 2000, 2000]) {
    const delay = attempts.delayAfter(lost);
    assert.ok(delay >= longest / 2 && delay <= longest, `${delay} of ${longest}`);
  }
});

test("the server's own delay is kept, and one that would not end in time is not begun", () => {
  const attempts = new Attempts(settings, 10_000);
  assert.equal(attempts.delayAfter(busy(0n, 500_000_000)), 500);
  assert.throws(() => attempts.delayAfter(busy(10n)), ServerBusyError);
  assert.throws(() => new Attempts(settings, 20).delayAfter(lost), UnavailableError);
});

test("after so many repetitions the failure is told", () => {
  const attempts = new Attempts({ ...settings, limit: 2 }, undefined);
  attempts.delayAfter(lost);
  attempts.delayAfter(lost);
  assert.throws(() => attempts.delayAfter(lost), UnavailableError);
});

test("only what certainly committed nothing is repeated without a key", () => {
  const isRepeated = (appending: Appending | undefined, failure: Failure): boolean => {
    try {
      return new Attempts(settings, undefined, appending).delayAfter(failure) > 0;
    } catch {
      return false;
    }
  };
  const withoutKey = { idempotencyKey: undefined };
  for (const appending of [undefined, { idempotencyKey: "k" }, withoutKey]) {
    const isHarmless = appending !== withoutKey;
    assert.equal(isRepeated(appending, busy()), true);
    assert.equal(isRepeated(appending, lost), isHarmless);
    assert.equal(isRepeated(appending, refusal(status.UNKNOWN, "APPEND_OUTCOME_UNKNOWN")), isHarmless);
    assert.equal(isRepeated(appending, refusal(status.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")), false);
    assert.equal(isRepeated(appending, new Interrupted("full", status.RESOURCE_EXHAUSTED)), false);
  }
});

test("once in doubt, what is cut off stays so", () => {
  const reason = new Error("enough");
  const attempts = new Attempts(settings, undefined, { idempotencyKey: "k" });
  assert.equal(attempts.notSent(reason), reason);
  attempts.delayAfter(lost);
  assert.ok(attempts.notSent(reason) instanceof OutcomeUnknownError);
  assert.throws(
    () => attempts.delayAfter(refusal(status.UNAUTHENTICATED, "UNAUTHENTICATED")),
    OutcomeUnknownError,
  );
});

test("what belongs to a stream is repeated without a limit, but not over a defect", () => {
  const attempts = new LastingAttempts({ ...settings, limit: 0 }, 1, undefined);
  for (let repetition = 0; repetition < 2_000; repetition += 1) {
    assert.ok(attempts.delayAfter(lost) <= 2_000);
  }
  assert.throws(() => attempts.delayAfter(refusal(status.INTERNAL, "INTERNAL")));
  assert.throws(() => new LastingAttempts(settings, 30_000, 10).delayAfter(lost), UnavailableError);
});

test("the wait after a conflict is random, of at most 10 ms, doubled up to 500 ms", () => {
  for (const [repetition, longest] of [10, 20, 40, 80, 160, 320, 500, 500].entries()) {
    const delay = conflictDelay(repetition);
    assert.ok(delay >= 0 && delay <= longest);
  }
});
