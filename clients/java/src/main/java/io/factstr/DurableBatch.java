package io.factstr;

import java.util.List;

/**
 * A batch of a durable stream, to be acknowledged.
 *
 * @param firstSequenceNumber of the whole commit
 * @param lastSequenceNumber of the whole commit
 * @param eventRecords the facts of it that match
 * @param leaseEpoch of the lease that it came under: a fencing number, which only ever rises
 * @param acknowledgementToken what acknowledges it; opaque
 */
public record DurableBatch(
        long firstSequenceNumber,
        long lastSequenceNumber,
        List<EventRecord> eventRecords,
        long leaseEpoch,
        String acknowledgementToken)
        implements Batch {
    static DurableBatch of(io.factstr.v1.CommittedBatch message, long leaseEpoch) {
        return new DurableBatch(
                message.getFirstSequenceNumber(),
                message.getLastSequenceNumber(),
                EventRecord.of(message.getEventRecordsList()),
                leaseEpoch,
                message.getAcknowledgementToken());
    }
}
