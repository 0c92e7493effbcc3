package io.factstr;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.factstr.v1.QueryResponse;
import org.junit.jupiter.api.Test;

class ReadingTest {
    private static Reading reading(QueryOptions options) {
        return new Reading(EventQuery.everything(), options);
    }

    private static QueryResponse message(long contextVersion, long... sequenceNumbers) {
        QueryResponse.Builder message = QueryResponse.newBuilder().setCurrentContextVersion(contextVersion);
        for (long number : sequenceNumbers) {
            message.addEventRecordsBuilder().setSequenceNumber(number).setPayload("1");
        }
        return message.build();
    }

    @Test
    void anAscendingResultEndsWithTheFactOfItsContextVersionOrItsLimit() {
        Reading all = reading(QueryOptions.DEFAULT);
        all.take(message(5, 1, 2));
        assertFalse(all.mayEnd());
        all.take(message(5, 5));
        assertTrue(all.mayEnd());

        Reading some = reading(QueryOptions.DEFAULT.withLimit(2));
        some.take(message(5, 1));
        assertFalse(some.mayEnd());
        some.take(message(5, 2));
        assertTrue(some.mayEnd());
    }

    @Test
    void anotherResultMayEndWhereTheServerSays() {
        Reading descending = reading(QueryOptions.DEFAULT.withOrder(Order.DESCENDING));
        descending.take(message(5, 5));
        assertTrue(descending.mayEnd());

        Reading before = reading(QueryOptions.DEFAULT.withBefore(4));
        before.take(message(5, 1));
        assertTrue(before.mayEnd());

        Reading empty = reading(QueryOptions.DEFAULT);
        empty.take(QueryResponse.getDefaultInstance());
        assertTrue(empty.mayEnd());
        empty.request();
        assertFalse(empty.mayEnd());
    }

    @Test
    void theRestIsOfALogThatHasOnlyGrown() {
        Reading reading = reading(QueryOptions.DEFAULT);
        reading.take(message(5, 1));
        reading.request();
        reading.take(message(9, 2));
        reading.take(QueryResponse.getDefaultInstance());
        assertEquals(5, reading.contextVersion().getAsLong());
        reading.request();
        assertThrows(LogDivergedException.class, () -> reading.take(message(4, 3)));
        reading.request();
        assertThrows(LogDivergedException.class, () -> reading.take(QueryResponse.getDefaultInstance()));
    }
}
