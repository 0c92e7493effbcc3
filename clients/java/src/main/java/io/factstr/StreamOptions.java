package io.factstr;

import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Where a live stream begins, and how long it is taken up again.
 *
 * @param after first replays everything strictly after it (0: from the beginning); empty: from now on
 * @param giveUpAfter how long an interrupted stream may come no further; empty: as long as it takes
 */
public record StreamOptions(OptionalLong after, Optional<Duration> giveUpAfter) {
    /** From now on, for as long as it takes. */
    public static final StreamOptions DEFAULT = new StreamOptions(OptionalLong.empty(), Optional.empty());

    /**
     * Checks the values.
     *
     * @throws IllegalArgumentException when the sequence number is negative, or the time not positive
     */
    public StreamOptions {
        after.ifPresent(number -> EventQuery.checkedNumber("after", number));
        giveUpAfter.ifPresent(time -> Clock.checked("giveUpAfter", time));
    }

    /**
     * Returns the options for a stream that begins after a sequence number.
     *
     * @param sequenceNumber 0: from the beginning
     * @return the options
     * @throws IllegalArgumentException when it is negative
     */
    public static StreamOptions after(long sequenceNumber) {
        return new StreamOptions(OptionalLong.of(sequenceNumber), Optional.empty());
    }

    /**
     * Returns these options with an end of patience.
     *
     * @param time how long an interrupted stream may come no further
     * @return the same options with it
     * @throws IllegalArgumentException when it is not positive
     */
    public StreamOptions withGiveUpAfter(Duration time) {
        return new StreamOptions(after, Optional.of(time));
    }
}
