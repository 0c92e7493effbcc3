package io.factstr;

import io.factstr.v1.AppendResponse;
import java.time.Instant;

/**
 * What an append committed: one consecutive range of sequence numbers, all at one time.
 *
 * @param firstSequenceNumber of the batch
 * @param lastSequenceNumber of the batch
 * @param committedCount how many facts the batch holds
 * @param occurredAt when it was committed, by the store's clock, in microseconds
 * @param repeatedRequest whether the caller's idempotency key had been used by the same request before: then this is
 *     the first result again, and nothing was committed now
 */
public record AppendResult(
        long firstSequenceNumber,
        long lastSequenceNumber,
        long committedCount,
        Instant occurredAt,
        boolean repeatedRequest) {
    static AppendResult of(AppendResponse message, boolean isKeyOfCaller) {
        return new AppendResult(
                message.getFirstSequenceNumber(),
                message.getLastSequenceNumber(),
                message.getCommittedCount(),
                EventRecord.instant(message.getOccurredAt()),
                isKeyOfCaller && message.getRepeatedRequest());
    }
}
