package io.factstr.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.factstr.ConnectOptions;
import io.factstr.Event;
import io.factstr.EventQuery;
import io.factstr.EventStore;
import io.factstr.FactstrException;
import io.factstr.Retries;
import java.io.BufferedReader;
import java.io.UncheckedIOException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(value = 60, unit = TimeUnit.SECONDS, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class TestServerTest {
    private static final ConnectOptions ONCE = ConnectOptions.DEFAULT.withRetries(Retries.NONE);

    @Test
    void eachServerHasAnEmptyStoreOfItsOwn() {
        try (TestServer one = TestServer.start();
                TestServer other = TestServer.start();
                EventStore store = one.connect();
                EventStore empty = other.connect()) {
            assertEquals(1, store.append(new Event("a", 1)).lastSequenceNumber());
            assertTrue(empty.readContext(EventQuery.everything()).version().isEmpty());
        }
    }

    @Test
    void aServerThatWasClosedIsGone() {
        TestServer server = TestServer.start();
        server.close();
        server.close();
        try (EventStore store = EventStore.connect(server.target(), ONCE)) {
            assertThrows(FactstrException.class, () -> store.readContext(EventQuery.everything()));
        }
    }

    @Test
    void aCommandThatIsNotThereSaysWhatToDo() {
        var missing = assertThrows(UncheckedIOException.class, () -> TestServer.start("no-such-server --fast"));
        assertEquals(
                "there is no no-such-server: install factstr-server, or name its command in FACTSTR_SERVER",
                missing.getMessage());
    }

    @Test
    void anEmptyCommandCountsAsUnset() {
        try (TestServer server = TestServer.start("")) {
            assertTrue(server.target().startsWith("127.0.0.1:"));
        } catch (UncheckedIOException missing) {
            assertTrue(missing.getMessage().startsWith("there is no factstr-server: "), missing::getMessage);
        }
    }

    /** Starts a server, says so, and is killed. */
    static final class Killed {
        /**
         * Never returns.
         *
         * @param arguments none
         * @throws InterruptedException never
         */
        @SuppressWarnings("try")
        public static void main(String[] arguments) throws InterruptedException {
            try (TestServer server = TestServer.start()) {
                System.out.println(ProcessHandle.current()
                        .children()
                        .findFirst()
                        .orElseThrow()
                        .pid());
                Thread.currentThread().join();
            }
        }
    }

    @Test
    void aServerEndsWhenItsTestIsKilled() throws Exception {
        String java = ProcessHandle.current().info().command().orElseThrow();
        Process test = new ProcessBuilder(java, "-cp", System.getProperty("java.class.path"), Killed.class.getName())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        try (BufferedReader said = test.inputReader();
                Stream<String> lines = said.lines()) {
            long server = Long.parseLong(lines.findFirst().orElseThrow());
            var end = ProcessHandle.of(server).orElseThrow().onExit();
            test.destroyForcibly();
            end.get(30, TimeUnit.SECONDS);
        } finally {
            test.destroyForcibly();
        }
    }
}
