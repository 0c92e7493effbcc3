package io.factstr;

import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * How a durable stream is consumed.
 *
 * @param startAfter where a new name starts: strictly after this sequence number; empty: before the first fact
 * @param startAtHead whether a new name starts after the head instead
 * @param maxUnacknowledgedBatches how many batches may be delivered beyond the acknowledged ones; 0: what the server
 *     finds right
 * @param waitForLease whether to wait while another consumer has the lease, instead of failing
 * @param giveUpAfter how long an interrupted stream may come no further; empty: as long as it takes
 */
public record DurableOptions(
        OptionalLong startAfter,
        boolean startAtHead,
        int maxUnacknowledgedBatches,
        boolean waitForLease,
        Optional<Duration> giveUpAfter) {
    /** A new name starts before the first fact, and another consumer's lease is not waited for. */
    public static final DurableOptions DEFAULT =
            new DurableOptions(OptionalLong.empty(), false, 0, false, Optional.empty());

    /**
     * Checks the values.
     *
     * @throws IllegalArgumentException when a number is negative, the time not positive, or there are two starts
     */
    public DurableOptions {
        startAfter.ifPresent(number -> EventQuery.checkedNumber("startAfter", number));
        EventQuery.checkedNumber("maxUnacknowledgedBatches", maxUnacknowledgedBatches);
        giveUpAfter.ifPresent(time -> Clock.checked("giveUpAfter", time));
        if (startAtHead && startAfter.isPresent()) {
            throw new IllegalArgumentException("a stream starts after a sequence number or at the head, not both");
        }
    }

    /**
     * Returns these options with a start for a new name.
     *
     * @param sequenceNumber strictly after this one
     * @return the same options with it
     * @throws IllegalArgumentException when it is negative
     */
    public DurableOptions withStartAfter(long sequenceNumber) {
        return new DurableOptions(
                OptionalLong.of(sequenceNumber), false, maxUnacknowledgedBatches, waitForLease, giveUpAfter);
    }

    /**
     * Returns these options with the head as the start of a new name.
     *
     * @return the same options with it
     */
    public DurableOptions withStartAtHead() {
        return new DurableOptions(OptionalLong.empty(), true, maxUnacknowledgedBatches, waitForLease, giveUpAfter);
    }

    /**
     * Returns these options with another number of batches under way.
     *
     * @param batches how many may be delivered beyond the acknowledged ones; 0: what the server finds right
     * @return the same options with it
     * @throws IllegalArgumentException when it is negative
     */
    public DurableOptions withMaxUnacknowledgedBatches(int batches) {
        return new DurableOptions(startAfter, startAtHead, batches, waitForLease, giveUpAfter);
    }

    /**
     * Returns these options with another word on waiting.
     *
     * @param wait whether to wait while another consumer has the lease
     * @return the same options with it
     */
    public DurableOptions withWaitForLease(boolean wait) {
        return new DurableOptions(startAfter, startAtHead, maxUnacknowledgedBatches, wait, giveUpAfter);
    }

    /**
     * Returns these options with an end of patience.
     *
     * @param time how long an interrupted stream may come no further
     * @return the same options with it
     * @throws IllegalArgumentException when it is not positive
     */
    public DurableOptions withGiveUpAfter(Duration time) {
        return new DurableOptions(startAfter, startAtHead, maxUnacknowledgedBatches, waitForLease, Optional.of(time));
    }
}
