package io.factstr;

import java.util.List;

/**
 * What one append committed, or the facts of it that match a stream's query.
 *
 * <p>The sequence numbers are of the whole commit: a reader that is done with this batch is done up to the last.
 */
public sealed interface Batch permits CommittedBatch, DurableBatch {
    /**
     * Returns where the commit begins.
     *
     * @return the sequence number of its first fact
     */
    long firstSequenceNumber();

    /**
     * Returns where the commit ends.
     *
     * @return the sequence number of its last fact
     */
    long lastSequenceNumber();

    /**
     * Returns the facts.
     *
     * @return those that match, in order
     */
    List<EventRecord> eventRecords();
}
