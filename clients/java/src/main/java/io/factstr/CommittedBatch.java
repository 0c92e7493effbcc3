package io.factstr;

import java.util.List;

/**
 * A batch of a live stream.
 *
 * @param firstSequenceNumber of the whole commit
 * @param lastSequenceNumber of the whole commit
 * @param eventRecords the facts of it that match
 */
public record CommittedBatch(long firstSequenceNumber, long lastSequenceNumber, List<EventRecord> eventRecords)
        implements Batch {
    static CommittedBatch of(io.factstr.v1.CommittedBatch message) {
        return new CommittedBatch(
                message.getFirstSequenceNumber(),
                message.getLastSequenceNumber(),
                EventRecord.of(message.getEventRecordsList()));
    }
}
