package io.factstr;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.factstr.testing.TestServer;
import java.io.IOException;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What the caller cancels, or closes, in the middle. */
@Timeout(value = 60, unit = TimeUnit.SECONDS, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class InterruptionTest {
    private final TestServer server = TestServer.start();
    private final EventStore store = server.connect();

    @AfterEach
    void stop() {
        store.close();
        server.close();
    }

    @Test
    void anInterruptedThreadSendsNothingAndStaysInterrupted() {
        Thread.currentThread().interrupt();
        assertThrows(CallInterruptedException.class, () -> store.append(new Event("a", 1)));
        assertThrows(CallInterruptedException.class, () -> store.readContext(EventQuery.everything()));
        assertTrue(Thread.interrupted());
        assertEquals(
                OptionalLong.empty(), store.readContext(EventQuery.everything()).version());
    }

    @Test
    void aResultThatWasBeingReadLosesNothing() {
        Event large = new Event("a", "x".repeat(400_000));
        store.append(List.of(large, large, large, large, large));
        try (QueryResult result = store.query(EventQuery.everything())) {
            Iterator<EventRecord> records = result.iterator();
            assertEquals(1, records.next().sequenceNumber());
            Thread.currentThread().interrupt();
            assertThrows(CallInterruptedException.class, records::hasNext);
            assertTrue(Thread.interrupted());
            for (long expected = 2; expected <= 5; expected++) {
                assertEquals(expected, records.next().sequenceNumber());
            }
        }
    }

    @Test
    void aResultThatWasClosedIsNoEndOfTheResult() {
        Event large = new Event("a", "x".repeat(400_000));
        store.append(List.of(large, large, large));
        QueryResult result = store.query(EventQuery.everything());
        result.iterator().next();
        result.close();
        assertThrows(ClosedException.class, () -> result.forEach(record -> {}));
    }

    @Test
    void aStreamThatWasClosedEndsButHasNotCaughtUp() {
        LiveStream stream = store.streamAll(StreamOptions.after(0));
        stream.close();
        stream.forEach(batch -> {});
        assertThrows(ClosedException.class, () -> stream.untilCaughtUp().forEach(batch -> {}));
    }

    @Test
    void aBatchThatWasThereIsHandedOverThoughTheStreamWasClosed() {
        store.append(new Event("a", 1));
        LiveStream stream = store.streamAll(StreamOptions.after(0));
        Iterator<CommittedBatch> batches = stream.iterator();
        assertTrue(batches.hasNext());
        stream.close();
        assertEquals(1, batches.next().lastSequenceNumber());
        assertThrows(NoSuchElementException.class, batches::next);
    }

    @Test
    void aHandlersOwnExceptionIsTheCallers() {
        store.append(new Event("a", Map.of()));
        var checked = new IOException("the disk is full");
        assertEquals(
                checked,
                assertThrows(
                        IOException.class,
                        () -> store.projectUntilCaughtUp("p", EventQuery.everything(), batch -> {
                            throw checked;
                        })));
    }

    @Test
    void aProjectionThatIsCancelledAcknowledgesWhatItHasHandled() {
        appendThree();
        assertThrows(
                CallInterruptedException.class,
                () -> store.projectUntilCaughtUp("p", EventQuery.everything(), batch -> {
                    if (batch.lastSequenceNumber() == 2) {
                        Thread.currentThread().interrupt();
                    }
                }));
        assertTrue(Thread.interrupted());
        assertEquals(2, cursor());
    }

    @Test
    void aProjectionWhoseHandlerIsCancelledAcknowledgesWhatItHasHandledBefore() {
        appendThree();
        assertThrows(
                IOException.class,
                () -> store.projectUntilCaughtUp("p", EventQuery.everything(), batch -> {
                    if (batch.lastSequenceNumber() == 2) {
                        Thread.currentThread().interrupt();
                        throw new IOException("interrupted");
                    }
                }));
        assertTrue(Thread.interrupted());
        assertEquals(1, cursor());
    }

    private void appendThree() {
        for (int number = 1; number <= 3; number++) {
            store.append(new Event("a", number));
        }
    }

    private long cursor() {
        try (DurableStream stream = store.streamAllDurable("p", DurableOptions.DEFAULT)) {
            return stream.cursor();
        }
    }
}
