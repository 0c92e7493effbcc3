package io.factstr.testing;

import io.factstr.EventStore;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A memory server, started for a test and stopped with it.
 *
 * <pre>{@code
 * try (TestServer server = TestServer.start();
 *         EventStore store = server.connect()) {
 *     store.append(new Event("tool-registered", Map.of("tool", Map.of("id", "drill-1"))));
 * }
 * }</pre>
 *
 * <p>It takes {@code factstr-server} on the path, or its command line in the environment variable FACTSTR_SERVER. It
 * ends when its standard input does, so also when the test's process is killed.
 */
public final class TestServer implements AutoCloseable {
    private static final List<String> FLAGS =
            List.of("--store", "memory:", "--listen", "127.0.0.1:0", "--log-format", "text", "--stop-at-eof");
    private static final Pattern READY = Pattern.compile(" serves .* on (\\S+)$");
    /** A word of a command line, or several in quotes. */
    private static final Pattern WORD = Pattern.compile("\"[^\"]*\"|'[^']*'|\\S+");

    private static final long SECONDS_TO_STOP = 30;

    private final Process process;
    private final String target;

    private TestServer(Process process, String target) {
        this.process = process;
        this.target = target;
    }

    /**
     * Starts a server with an empty store, and waits until it serves.
     *
     * @return the server, to be closed
     * @throws UncheckedIOException when there is no such command
     * @throws IllegalStateException when the server does not start, with what it said
     */
    public static TestServer start() {
        return start(System.getenv("FACTSTR_SERVER"));
    }

    static TestServer start(String commandLine) {
        List<String> command = words(commandLine == null || commandLine.isBlank() ? "factstr-server" : commandLine);
        command.addAll(FLAGS);
        ProcessBuilder builder = new ProcessBuilder(command).redirectOutput(ProcessBuilder.Redirect.DISCARD);
        // Only the flags above say how it runs.
        builder.environment().keySet().removeIf(name -> name.startsWith("FACTSTR_"));
        Process process;
        try {
            process = builder.start();
        } catch (IOException missing) {
            throw new UncheckedIOException(
                    "there is no " + command.get(0) + ": install factstr-server, or name its command in FACTSTR_SERVER",
                    missing);
        }
        try {
            BufferedReader log = process.errorReader();
            TestServer server = new TestServer(process, readiness(process, log));
            // What it says later must not fill the pipe, or it would wait.
            Thread rest = new Thread(() -> log.lines().forEach(line -> {}), "factstr-server log");
            rest.setDaemon(true);
            rest.start();
            return server;
        } catch (IOException failed) {
            throw new UncheckedIOException("what the server says cannot be read", failed);
        }
    }

    /**
     * Returns where the server is.
     *
     * @return what {@link EventStore#connect} takes
     */
    public String target() {
        return target;
    }

    /**
     * Returns a store of its own on this server.
     *
     * @return the store, to be closed
     */
    public EventStore connect() {
        return EventStore.connect(target);
    }

    /** Stops the server and waits for its end. Harmless again. */
    @Override
    public void close() {
        stop(process);
    }

    private static String readiness(Process process, BufferedReader log) throws IOException {
        List<String> said = new ArrayList<>();
        for (String line = log.readLine(); line != null; line = log.readLine()) {
            Matcher ready = READY.matcher(line);
            if (ready.find()) {
                return ready.group(1);
            }
            said.add(line);
        }
        stop(process);
        throw new IllegalStateException("the server did not start: " + String.join("\n", said));
    }

    private static void stop(Process process) {
        try {
            process.getOutputStream().close();
            if (!process.waitFor(SECONDS_TO_STOP, TimeUnit.SECONDS)) {
                process.destroyForcibly();
            }
        } catch (IOException gone) {
            process.destroyForcibly();
        } catch (InterruptedException interrupted) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }

    private static List<String> words(String commandLine) {
        List<String> words = new ArrayList<>();
        Matcher matcher = WORD.matcher(commandLine);
        while (matcher.find()) {
            words.add(matcher.group().replaceAll("^[\"']|[\"']$", ""));
        }
        return words;
    }
}
