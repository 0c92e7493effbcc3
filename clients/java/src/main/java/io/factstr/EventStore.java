package io.factstr;

import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * A FACTSTR event store. Safe to share between threads.
 *
 * <p>Every method throws a {@link FactstrException} when the server refuses or cannot be asked, within the timeout.
 * What was certainly not committed, reads, and appends with an idempotency key are repeated after failures that may
 * pass.
 */
public final class EventStore implements AutoCloseable {
    private static final int ATTEMPTS_TO_DECIDE = 10;
    private static final long FIRST_CONFLICT_DELAY = TimeUnit.MILLISECONDS.toNanos(10);
    private static final long LONGEST_CONFLICT_DELAY = TimeUnit.MILLISECONDS.toNanos(500);

    private final ManagedChannel connection;
    private final Calls calls;

    private EventStore(ManagedChannel connection, Calls calls) {
        this.connection = connection;
        this.calls = calls;
    }

    /**
     * Returns the store at a target, in plaintext and with the defaults. Nothing is sent yet: a server that cannot be
     * reached shows at the first call.
     *
     * @param target {@code host:port}, {@code [v6 address]:port} or (on Linux) {@code unix:/path}
     * @return the store, to be closed
     * @throws IllegalArgumentException when the target is anything else
     */
    public static EventStore connect(String target) {
        return connect(target, ConnectOptions.DEFAULT);
    }

    /**
     * Returns the store at a target.
     *
     * @param target {@code host:port}, {@code [v6 address]:port} or (on Linux) {@code unix:/path}
     * @param options how it is reached, and how calls are bounded and repeated
     * @return the store, to be closed
     * @throws IllegalArgumentException when the target is anything else, a token would cross a network in plaintext, or
     *     a file of TLS cannot be read or holds no certificate
     */
    public static EventStore connect(String target, ConnectOptions options) {
        Target to = Target.parse(target);
        Metadata headers = new Metadata();
        if (options.token().isPresent()) {
            if (options.tls().isEmpty() && !to.isLocal() && !options.allowPlaintextToken()) {
                throw new IllegalArgumentException("the token would go to " + target
                        + " in plaintext; use TLS, or allow it with withPlaintextToken(true)");
            }
            headers.put(
                    Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
                    "Bearer " + options.token().get());
        }
        ManagedChannel connection = Channels.open(to, options);
        Channel channel = ClientInterceptors.intercept(connection, MetadataUtils.newAttachHeadersInterceptor(headers));
        return new EventStore(
                connection,
                new Calls(
                        channel, options.retries(), options.timeout(), new Lifetime(), ConcurrentHashMap.newKeySet()));
    }

    /**
     * Returns this store with another timeout for its calls, on the same connection: closing either closes both.
     *
     * @param timeout bounds each call, its repetitions included; of a query, each wait for the server
     * @return the same store
     * @throws IllegalArgumentException when it is not positive
     */
    public EventStore withTimeout(Duration timeout) {
        return new EventStore(connection, calls.withTimeout(timeout));
    }

    /**
     * Returns the channel, which bears the token, for the generated stubs of {@code io.factstr.v1}: for what is not
     * wrapped here, such as {@code DurableStreamServiceGrpc} or {@code GetServerInfo}. Its calls have no timeout, are
     * not repeated, and fail with {@link io.grpc.StatusRuntimeException}.
     *
     * @return the channel; it is closed with the store
     */
    public Channel channel() {
        return calls.channel();
    }

    /** Closes the connection, with all that is under way on it. Later calls throw {@link ClosedException}. */
    @Override
    public void close() {
        calls.lifetime().end();
        connection.shutdownNow();
    }

    /**
     * Commits one event: {@link #append(List)}.
     *
     * @param event the fact
     * @return what was committed
     */
    public AppendResult append(Event event) {
        return append(List.of(event));
    }

    /**
     * Commits events as one batch: all or none, durable when this returns. It is sent with an idempotency key of its
     * own, unless retries are off, so that it is committed once however often it is repeated.
     *
     * @param events the batch, in order
     * @return what was committed
     * @throws OutcomeUnknownException when it may or may not have been committed; after any other exception it was not
     * @throws BatchTooLargeException when there are too many events or bytes
     */
    public AppendResult append(List<Event> events) {
        return Appends.withMadeKey(calls).append(events);
    }

    /**
     * Commits events as one batch, under a key of the caller's: the same key with the same events returns the first
     * result again.
     *
     * @param events the batch, in order
     * @param idempotencyKey 1 to 200 characters
     * @return what was committed, or had been before
     * @throws IdempotencyKeyReusedException when it belongs to an earlier, different request
     * @throws OutcomeUnknownException when it may or may not have been committed; after any other exception it was not
     * @throws IllegalArgumentException when the key is empty
     */
    public AppendResult append(List<Event> events, String idempotencyKey) {
        return Appends.withKey(calls, idempotencyKey).append(events);
    }

    /**
     * Commits one event on a condition: {@link #appendIf(List, EventQuery, OptionalLong)}.
     *
     * @param event the fact
     * @param query selects the context
     * @param expectedContextVersion the version that it must have; empty: no fact may match
     * @return what was committed
     */
    public AppendResult appendIf(Event event, EventQuery query, OptionalLong expectedContextVersion) {
        return appendIf(List.of(event), query, expectedContextVersion);
    }

    /**
     * Commits events as one batch, only if the context has exactly the expected version; otherwise as {@link
     * #append(List)}.
     *
     * @param events the batch, in order
     * @param query selects the context
     * @param expectedContextVersion the version that it must have, exactly, as an unsigned number; empty: no fact may
     *     match
     * @return what was committed
     * @throws ConditionalAppendConflictException when the context has another version; nothing was committed
     */
    public AppendResult appendIf(List<Event> events, EventQuery query, OptionalLong expectedContextVersion) {
        return Appends.withMadeKey(calls).appendIf(events, query, expectedContextVersion);
    }

    /**
     * Commits events as one batch on a condition, under a key of the caller's: as {@link #append(List, String)}.
     *
     * @param events the batch, in order
     * @param query selects the context
     * @param expectedContextVersion the version that it must have; empty: no fact may match
     * @param idempotencyKey 1 to 200 characters
     * @return what was committed, or had been before
     * @throws ConditionalAppendConflictException when the context has another version; nothing was committed
     * @throws IllegalArgumentException when the key is empty
     */
    public AppendResult appendIf(
            List<Event> events, EventQuery query, OptionalLong expectedContextVersion, String idempotencyKey) {
        return Appends.withKey(calls, idempotencyKey).appendIf(events, query, expectedContextVersion);
    }

    /**
     * Returns the facts that match, in one snapshot, oldest first.
     *
     * @param query selects them
     * @return the facts, read as they are iterated
     */
    public QueryResult query(EventQuery query) {
        return query(query, QueryOptions.DEFAULT);
    }

    /**
     * Returns a part of the facts that match, in one snapshot.
     *
     * @param query selects them
     * @param options which part, and in what order
     * @return the facts, read as they are iterated
     */
    public QueryResult query(EventQuery query, QueryOptions options) {
        return new QueryResult(calls, new Reading(query, options));
    }

    /**
     * Returns all facts that match, with their version, to decide on.
     *
     * @param query selects them
     * @return the facts, all in memory
     */
    public Context readContext(EventQuery query) {
        try (QueryResult result = query(query)) {
            List<EventRecord> records = new ArrayList<>();
            result.forEach(records::add);
            return new Context(records, result.contextVersion());
        }
    }

    /**
     * Reads a context, decides, and appends on the condition that the context has not changed: at most 10 times, as
     * {@link #decide(EventQuery, int, Decision)}.
     *
     * @param <X> what the decision throws
     * @param query selects the context
     * @param decision what to append; nothing when it is empty
     * @return what was committed; empty when the decision was to append nothing
     * @throws X as the decision has thrown it; then nothing was appended
     * @throws ConditionalAppendConflictException when other writers were faster each time
     */
    public <X extends Exception> Optional<AppendResult> decide(EventQuery query, Decision<X> decision) throws X {
        return decide(query, ATTEMPTS_TO_DECIDE, decision);
    }

    /**
     * Reads a context, decides, and appends on the condition that the context has not changed. When it has, all of that
     * again, after a random wait of at most 10 ms, doubled each time up to 500 ms.
     *
     * @param <X> what the decision throws
     * @param query selects the context
     * @param attempts at most so many
     * @param decision what to append; nothing when it is empty
     * @return what was committed; empty when the decision was to append nothing
     * @throws X as the decision has thrown it; then nothing was appended
     * @throws ConditionalAppendConflictException when other writers were faster each time
     * @throws IllegalArgumentException when there is no attempt
     */
    public <X extends Exception> Optional<AppendResult> decide(EventQuery query, int attempts, Decision<X> decision)
            throws X {
        if (attempts < 1) {
            throw new IllegalArgumentException("attempts is " + attempts + "; it must be at least 1");
        }
        long longestDelay = FIRST_CONFLICT_DELAY;
        for (int attempt = 1; ; attempt++) {
            Context context = readContext(query);
            List<Event> events = decision.decide(context);
            if (events.isEmpty()) {
                return Optional.empty();
            }
            try {
                return Optional.of(appendIf(events, query, context.version()));
            } catch (ConditionalAppendConflictException conflict) {
                if (attempt == attempts) {
                    throw conflict;
                }
            }
            // All of it at random: those who lost to the same competitor must not meet again.
            calls.pause(ThreadLocalRandom.current().nextLong(longestDelay));
            longestDelay = Math.min(LONGEST_CONFLICT_DELAY, 2 * longestDelay);
        }
    }

    /**
     * Returns every batch that is committed from now on: {@link #streamAll(StreamOptions)}.
     *
     * @return the stream, to be closed
     */
    public LiveStream streamAll() {
        return streamAll(StreamOptions.DEFAULT);
    }

    /**
     * Returns every batch that is committed from now on, or after a sequence number. Whatever is appended after this
     * has returned is delivered.
     *
     * @param options where it begins
     * @return the stream, to be closed
     * @throws CursorAheadOfLogException when the log does not reach so far
     */
    public LiveStream streamAll(StreamOptions options) {
        return new LiveStream(new LiveFollowing(calls, null, options));
    }

    /**
     * Returns the batches that match and are committed from now on: {@link #streamTo(EventQuery, StreamOptions)}.
     *
     * @param query selects their facts; where it begins is not said by it
     * @return the stream, to be closed
     */
    public LiveStream streamTo(EventQuery query) {
        return streamTo(query, StreamOptions.DEFAULT);
    }

    /**
     * Returns the batches that match and are committed from now on, or after a sequence number. Whatever is appended
     * after this has returned is delivered.
     *
     * @param query selects their facts; where it begins is not said by it
     * @param options where it begins
     * @return the stream, to be closed
     * @throws CursorAheadOfLogException when the log does not reach so far
     */
    public LiveStream streamTo(EventQuery query, StreamOptions options) {
        return new LiveStream(new LiveFollowing(calls, Objects.requireNonNull(query), options));
    }

    /**
     * Consumes all batches under a name: as {@link #streamToDurable}, with the query for everything.
     *
     * @param name 1 to 200 characters
     * @param options where a new name starts, and whether to wait for the lease
     * @return the stream, to be closed
     */
    public DurableStream streamAllDurable(String name, DurableOptions options) {
        return new DurableStream(calls, new Consuming(calls, name, null, options));
    }

    /**
     * Consumes the batches that match under a name, from the cursor on that the store keeps for it. One consumer at a
     * time has the name's lease; when this returns, this one does.
     *
     * @param name 1 to 200 characters
     * @param query selects the facts; bound to the name
     * @param options where a new name starts, and whether to wait for the lease
     * @return the stream, to be closed
     * @throws DurableStreamActiveException when another consumer has the lease and it is not waited for
     * @throws QueryMismatchException when the name is bound to another query
     */
    public DurableStream streamToDurable(String name, EventQuery query, DurableOptions options) {
        return new DurableStream(calls, new Consuming(calls, name, Objects.requireNonNull(query), options));
    }

    /**
     * Runs a handler on each batch of a durable stream, and acknowledges what it has done: {@link
     * DurableStream#project}, with {@link DurableOptions#DEFAULT}. It goes on until something fails or the thread is
     * interrupted.
     *
     * @param <X> what the handler throws
     * @param name 1 to 200 characters
     * @param query selects the facts; bound to the name
     * @param handler takes in a batch
     * @throws X as the handler has thrown it: what was handled before is acknowledged, that batch is not
     */
    public <X extends Exception> void project(String name, EventQuery query, BatchHandler<X> handler) throws X {
        project(name, query, DurableOptions.DEFAULT, handler);
    }

    /**
     * Does what {@link #project(String, EventQuery, BatchHandler)} does, with options of its stream.
     *
     * @param <X> what the handler throws
     * @param name 1 to 200 characters
     * @param query selects the facts; bound to the name
     * @param options where a new name starts, and whether to wait for the lease
     * @param handler takes in a batch
     * @throws X as the handler has thrown it: what was handled before is acknowledged, that batch is not
     */
    public <X extends Exception> void project(
            String name, EventQuery query, DurableOptions options, BatchHandler<X> handler) throws X {
        try (DurableStream stream = streamToDurable(name, query, options)) {
            stream.project(handler);
        }
    }

    /**
     * Does what {@link #project(String, EventQuery, BatchHandler)} does up to the head of the log, and returns when all of that is handled and
     * acknowledged.
     *
     * @param <X> what the handler throws
     * @param name 1 to 200 characters
     * @param query selects the facts; bound to the name
     * @param handler takes in a batch
     * @throws X as the handler has thrown it: what was handled before is acknowledged, that batch is not
     */
    public <X extends Exception> void projectUntilCaughtUp(String name, EventQuery query, BatchHandler<X> handler)
            throws X {
        projectUntilCaughtUp(name, query, DurableOptions.DEFAULT, handler);
    }

    /**
     * Does what {@link #projectUntilCaughtUp(String, EventQuery, BatchHandler)} does, with options of its stream.
     *
     * @param <X> what the handler throws
     * @param name 1 to 200 characters
     * @param query selects the facts; bound to the name
     * @param options where a new name starts, and whether to wait for the lease
     * @param handler takes in a batch
     * @throws X as the handler has thrown it: what was handled before is acknowledged, that batch is not
     */
    public <X extends Exception> void projectUntilCaughtUp(
            String name, EventQuery query, DurableOptions options, BatchHandler<X> handler) throws X {
        try (DurableStream stream = streamToDurable(name, query, options)) {
            stream.projectUntilCaughtUp(handler);
        }
    }
}
