package io.factstr.conformance;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.factstr.AppendResult;
import io.factstr.BatchStream;
import io.factstr.ConnectOptions;
import io.factstr.DurableBatch;
import io.factstr.DurableOptions;
import io.factstr.DurableStream;
import io.factstr.Event;
import io.factstr.EventQuery;
import io.factstr.EventRecord;
import io.factstr.EventStore;
import io.factstr.Order;
import io.factstr.QueryOptions;
import io.factstr.QueryResult;
import io.factstr.Retries;
import io.factstr.StreamOptions;
import io.factstr.Tls;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;

/** Does with the client's public API what it is told to, one request a line: see clients/conformance. */
public final class Adapter {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final PrintStream answers = new PrintStream(System.out, false, UTF_8);
    private final Map<Long, Thread> underWay = new ConcurrentHashMap<>();
    private final Map<String, EventStore> stores = new ConcurrentHashMap<>();
    private final Map<String, BatchStream<?>> streams = new ConcurrentHashMap<>();
    private final Map<String, Map<Long, DurableBatch>> delivered = new ConcurrentHashMap<>();

    private Adapter() {}

    /**
     * Answers until the end of the input.
     *
     * @param arguments none
     * @throws IOException when the input cannot be read
     */
    public static void main(String[] arguments) throws IOException {
        new Adapter().run();
    }

    private void run() throws IOException {
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            // As the client reads and writes payloads, so that this is tried as well.
            JsonNode request = new EventRecord(0, Instant.EPOCH, "", line, Map.of()).payload();
            Thread thread = new Thread(() -> answer(request));
            thread.setDaemon(true);
            underWay.put(request.get("id").longValue(), thread);
            thread.start();
        }
    }

    private void answer(JsonNode request) {
        ObjectNode answer = JSON.objectNode().set("id", request.get("id"));
        try {
            answer.set("result", done(request));
        } catch (Exception | StackOverflowError failure) {
            answer.set("error", Answers.error(failure));
        }
        synchronized (answers) {
            answers.append(new Event("", answer).payload().text()).append('\n').flush();
        }
    }

    private ObjectNode done(JsonNode request) throws Exception {
        return switch (request.get("do").textValue()) {
            case "connect" -> connect(request);
            case "close" -> {
                store(request).close();
                yield JSON.objectNode();
            }
            case "append" -> append(request);
            case "append_if" -> appendIf(request);
            case "query" -> query(request);
            case "decide" -> decide(request);
            case "stream" -> stream(request);
            case "durable" -> durable(request);
            case "next" -> next(request);
            case "until_caught_up" -> untilCaughtUp(request);
            case "acknowledge" -> acknowledge(request);
            case "close_stream" -> {
                streamOf(request).close();
                yield JSON.objectNode();
            }
            case "project" -> project(request);
            case "cancel" -> {
                underWay.get(request.get("request").longValue()).interrupt();
                yield JSON.objectNode();
            }
            default -> throw new IllegalArgumentException("it cannot " + request.get("do"));
        };
    }

    private ObjectNode connect(JsonNode request) {
        ConnectOptions options = ConnectOptions.DEFAULT
                .withPlaintextToken(request.path("allow_plaintext_token").asBoolean())
                .withRetries(retries(request.path("retries")));
        JsonNode tls = request.path("tls");
        if (tls.isObject() || tls.asBoolean()) {
            options = options.withTls(new Tls(
                    text(tls, "ca").map(Path::of).orElse(null),
                    text(tls, "cert").map(Path::of).orElse(null),
                    text(tls, "key").map(Path::of).orElse(null),
                    text(tls, "server_name").orElse(null)));
        }
        if (request.hasNonNull("token")) {
            options = options.withToken(request.get("token").textValue());
        }
        if (request.hasNonNull("timeout_ms")) {
            options = options.withTimeout(millis(request.get("timeout_ms")));
        }
        stores.put(
                request.get("store").textValue(),
                EventStore.connect(request.get("target").textValue(), options));
        return JSON.objectNode();
    }

    private static Retries retries(JsonNode asked) {
        Retries usual = Retries.DEFAULT;
        return new Retries(
                asked.path("limit").asInt(usual.limit()),
                optional(asked, "first_delay_ms", Adapter::millis).orElse(usual.firstDelay()),
                optional(asked, "longest_delay_ms", Adapter::millis).orElse(usual.longestDelay()));
    }

    private ObjectNode append(JsonNode request) {
        List<Event> events = Requests.events(request.get("events"));
        Optional<String> key = text(request, "idempotency_key");
        EventStore store = store(request);
        AppendResult result = key.isPresent() ? store.append(events, key.get()) : store.append(events);
        return Answers.appended(result);
    }

    private ObjectNode appendIf(JsonNode request) {
        List<Event> events = Requests.events(request.get("events"));
        EventQuery query = Requests.query(request.get("query"));
        var expected = Requests.unsigned(request.get("expected_context_version"));
        Optional<String> key = text(request, "idempotency_key");
        EventStore store = store(request);
        AppendResult result = key.isPresent()
                ? store.appendIf(events, query, expected, key.get())
                : store.appendIf(events, query, expected);
        return Answers.appended(result);
    }

    private ObjectNode query(JsonNode request) {
        QueryOptions options = new QueryOptions(
                Requests.number(request.get("limit")),
                Order.valueOf(text(request, "order").orElse("ascending").toUpperCase(Locale.ROOT)),
                Requests.number(request.get("before")));
        try (QueryResult result = store(request).query(Requests.query(request.get("query")), options)) {
            List<EventRecord> records = new ArrayList<>();
            result.forEach(records::add);
            ObjectNode answer = JSON.objectNode();
            answer.set("event_records", Answers.records(records));
            answer.set("context_version", Answers.number(result.contextVersion()));
            answer.set("last_returned_sequence_number", Answers.number(result.lastReturnedSequenceNumber()));
            return answer;
        }
    }

    private ObjectNode decide(JsonNode request) {
        EventStore store = store(request);
        List<Event> events = Requests.events(request.get("events"));
        List<Event> interfering = Requests.events(request.path("interfere").path("events"));
        int[] decisions = {0};
        Optional<AppendResult> appended = store.decide(
                Requests.query(request.get("query")), request.path("attempts").asInt(10), context -> {
                    decisions[0]++;
                    if (decisions[0] <= request.path("interfere").path("times").asInt()) {
                        store.append(interfering);
                    }
                    List<EventRecord> records = context.eventRecords();
                    boolean isNothing = !records.isEmpty()
                            && text(request, "unless_last")
                                    .equals(Optional.of(
                                            records.get(records.size() - 1).eventType()));
                    return isNothing ? List.of() : events;
                });
        ObjectNode answer = JSON.objectNode().put("decisions", decisions[0]);
        answer.set("appended", appended.map(Answers::appended).orElse(null));
        return answer;
    }

    private ObjectNode stream(JsonNode request) {
        StreamOptions options = new StreamOptions(
                Requests.number(request.get("after")), optional(request, "give_up_after_ms", Adapter::millis));
        EventStore store = store(request);
        BatchStream<?> stream = request.hasNonNull("query")
                ? store.streamTo(Requests.query(request.get("query")), options)
                : store.streamAll(options);
        streams.put(request.get("stream").textValue(), stream);
        return JSON.objectNode().put("position", stream.position());
    }

    private ObjectNode durable(JsonNode request) {
        JsonNode start = request.path("start");
        DurableOptions options = new DurableOptions(
                start.isNumber() ? Requests.number(start) : Requests.number(null),
                start.isTextual(),
                request.path("max_unacknowledged_batches").asInt(),
                request.path("wait_for_lease").asBoolean(),
                optional(request, "give_up_after_ms", Adapter::millis));
        EventStore store = store(request);
        String name = request.get("name").textValue();
        DurableStream stream = request.hasNonNull("query")
                ? store.streamToDurable(name, Requests.query(request.get("query")), options)
                : store.streamAllDurable(name, options);
        streams.put(request.get("stream").textValue(), stream);
        delivered.put(request.get("stream").textValue(), new ConcurrentHashMap<>());
        return JSON.objectNode().put("cursor", stream.cursor()).put("lease_epoch", stream.leaseEpoch());
    }

    private ObjectNode next(JsonNode request) {
        BatchStream<?> stream = streamOf(request);
        Iterator<?> batches = stream.iterator();
        if (!batches.hasNext()) {
            throw new Answers.EndOfStream();
        }
        ObjectNode answer = JSON.objectNode();
        answer.set("batch", Answers.batch(taken(request, batches.next())));
        return answer.put("position", stream.position());
    }

    private ObjectNode untilCaughtUp(JsonNode request) {
        BatchStream<?> stream = streamOf(request);
        ObjectNode answer = JSON.objectNode();
        var batches = answer.putArray("batches");
        for (Object batch : stream.untilCaughtUp()) {
            batches.add(Answers.batch(taken(request, batch)));
        }
        return answer.put("position", stream.position());
    }

    private Object taken(JsonNode request, Object batch) {
        if (batch instanceof DurableBatch durable) {
            delivered.get(request.get("stream").textValue()).put(durable.lastSequenceNumber(), durable);
        }
        return batch;
    }

    private ObjectNode acknowledge(JsonNode request) {
        DurableStream stream = (DurableStream) streamOf(request);
        DurableBatch batch = delivered
                .get(request.get("stream").textValue())
                .get(request.get("last_sequence_number").longValue());
        return JSON.objectNode().put("cursor", stream.acknowledge(batch));
    }

    private ObjectNode project(JsonNode request) throws Answers.HandlerFailed {
        List<Long> handled = new ArrayList<>();
        EventQuery query = request.hasNonNull("query") ? Requests.query(request.get("query")) : EventQuery.everything();
        store(request).projectUntilCaughtUp(request.get("name").textValue(), query, batch -> {
            if (batch.lastSequenceNumber() == request.path("fail_at").asLong()) {
                throw new Answers.HandlerFailed(handled);
            }
            handled.add(batch.lastSequenceNumber());
        });
        return Answers.handled(handled);
    }

    private EventStore store(JsonNode request) {
        EventStore store = stores.get(request.get("store").textValue());
        return request.hasNonNull("timeout_ms") ? store.withTimeout(millis(request.get("timeout_ms"))) : store;
    }

    private BatchStream<?> streamOf(JsonNode request) {
        return streams.get(request.get("stream").textValue());
    }

    private static Duration millis(JsonNode number) {
        return Duration.ofMillis(number.longValue());
    }

    private static Optional<String> text(JsonNode node, String name) {
        return optional(node, name, JsonNode::textValue);
    }

    private static <T> Optional<T> optional(JsonNode node, String name, Function<JsonNode, T> read) {
        return node.hasNonNull(name) ? Optional.of(read.apply(node.get(name))) : Optional.empty();
    }
}
