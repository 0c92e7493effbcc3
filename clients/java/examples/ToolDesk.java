import com.fasterxml.jackson.databind.ObjectMapper;
import io.factstr.DurableBatch;
import io.factstr.Event;
import io.factstr.EventFilter;
import io.factstr.EventQuery;
import io.factstr.EventRecord;
import io.factstr.EventStore;
import io.factstr.FactstrException;
import io.factstr.QueryOptions;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * A desk of a tool rental: {@code ToolDesk TARGET NAME} reads commands from its input, one a line, and answers each.
 *
 * <p>Any number of desks, in any language, rent out the same tools: each command decides on the facts of its tool, and
 * is decided again when another desk was faster. The inventory is a table that the desk projects for itself.
 */
public final class ToolDesk {
    private static final EventFilter TOOL_FACTS =
            EventFilter.types("tool-registered", "tool-checked-out", "tool-returned");

    private final EventStore store;
    private final String name;
    private final Inventory inventory;

    private ToolDesk(EventStore store, String name) throws IOException {
        this.store = store;
        this.name = name;
        this.inventory = new Inventory(Path.of("inventory-" + name + ".json"));
    }

    /**
     * Opens the desk until the end of its input.
     *
     * @param arguments where the store is, and the desk's name
     */
    public static void main(String[] arguments) {
        try (EventStore store = EventStore.connect(arguments[0])) {
            new ToolDesk(store, arguments[1]).open();
        } catch (FactstrException | IOException failure) {
            System.err.println("tool-desk: " + failure.getMessage());
            System.exit(1);
        }
    }

    private void open() throws IOException {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        store.query(EventQuery.everything(), QueryOptions.DEFAULT.withLimit(0)).close();
        answers.println(name + " is open");
        for (String command = commands.readLine(); command != null; command = commands.readLine()) {
            answers.println(answer(command.strip().split("\\s+")));
        }
    }

    private String answer(String[] words) throws IOException {
        return switch (words[0] + "/" + words.length) {
            case "register/3" -> register(words[1], words[2]);
            case "check-out/3" -> checkOut(words[1], words[2]);
            case "return/2" -> takeBack(words[1]);
            case "inventory/1" -> inventory();
            default -> "commands: register ID KIND, check-out ID CUSTOMER, return ID, inventory";
        };
    }

    private String register(String id, String kind) {
        return decide(
                id,
                tool -> tool.isRegistered()
                        ? Outcome.nothing(id + " is registered already")
                        : new Outcome(
                                fact("tool-registered", Map.of("tool", Map.of("id", id, "kind", kind))),
                                id + " is registered"));
    }

    private String checkOut(String id, String customer) {
        return decide(id, tool -> {
            if (!tool.isRegistered()) {
                return Outcome.nothing("there is no " + id);
            }
            if (tool.customer() != null) {
                return Outcome.nothing(id + " is out: " + tool.customer() + " has it");
            }
            Map<String, ?> payload = Map.of("tool", Map.of("id", id), "customer", Map.of("name", customer));
            return new Outcome(fact("tool-checked-out", payload), id + " is checked out to " + customer);
        });
    }

    private String takeBack(String id) {
        return decide(id, tool -> {
            if (!tool.isRegistered()) {
                return Outcome.nothing("there is no " + id);
            }
            return tool.customer() == null
                    ? Outcome.nothing(id + " is not out")
                    : new Outcome(fact("tool-returned", Map.of("tool", Map.of("id", id))), id + " is back");
        });
    }

    private Event fact(String type, Object payload) {
        return new Event(type, payload, Map.of("desk", name));
    }

    /** What the facts of one tool say: who has it is null when nobody does. */
    private record Tool(boolean isRegistered, String customer) {
        Tool after(EventRecord fact) {
            return switch (fact.eventType()) {
                case "tool-checked-out" -> new Tool(true, Inventory.customer(fact));
                default -> new Tool(true, null);
            };
        }
    }

    /** What to append, and what to answer once that is done. */
    private record Outcome(List<Event> events, String answer) {
        Outcome(Event event, String answer) {
            this(List.of(event), answer);
        }

        static Outcome nothing(String answer) {
            return new Outcome(List.of(), answer);
        }
    }

    private interface Rule {
        Outcome of(Tool tool);
    }

    /** Decides by a rule on what a tool is now, again when another desk was faster. */
    private String decide(String id, Rule rule) {
        EventQuery facts = EventQuery.anyOf(TOOL_FACTS.withPayload(Map.of("tool", Map.of("id", id))));
        String[] answer = new String[1];
        store.decide(facts, context -> {
            Tool tool = new Tool(false, null);
            for (EventRecord fact : context.eventRecords()) {
                tool = tool.after(fact);
            }
            Outcome outcome = rule.of(tool);
            answer[0] = outcome.answer();
            return outcome.events();
        });
        return answer[0];
    }

    private String inventory() throws IOException {
        store.projectUntilCaughtUp("inventory-" + name, EventQuery.anyOf(TOOL_FACTS), inventory::takeIn);
        return inventory.text();
    }

    /** A table of all tools, in a file that is written anew with each batch. */
    private static final class Inventory {
        private static final ObjectMapper MAPPER = new ObjectMapper();

        /** The file: how far it has come, and what it holds. */
        private record Table(long last_sequence_number, TreeMap<String, Row> tools) {}

        private record Row(String kind, String customer) {}

        private final Path file;
        private Table table;

        Inventory(Path file) throws IOException {
            this.file = file;
            this.table = Files.exists(file)
                    ? MAPPER.readValue(Files.readString(file), Table.class)
                    : new Table(0, new TreeMap<>());
        }

        void takeIn(DurableBatch batch) throws IOException {
            if (batch.lastSequenceNumber() <= table.last_sequence_number()) {
                // It is in the table already: after a crash the last batches come again.
                return;
            }
            TreeMap<String, Row> tools = new TreeMap<>(table.tools());
            for (EventRecord fact : batch.eventRecords()) {
                String id = fact.payload().at("/tool/id").asText();
                switch (fact.eventType()) {
                    case "tool-registered" ->
                        tools.put(id, new Row(fact.payload().at("/tool/kind").asText(), null));
                    case "tool-checked-out" ->
                        tools.put(id, new Row(tools.get(id).kind(), customer(fact)));
                    default -> tools.put(id, new Row(tools.get(id).kind(), null));
                }
            }
            keep(new Table(batch.lastSequenceNumber(), tools));
        }

        private void keep(Table next) throws IOException {
            Path beside = Path.of(file + ".new");
            Files.writeString(beside, MAPPER.writeValueAsString(next));
            Files.move(beside, file, StandardCopyOption.ATOMIC_MOVE);
            table = next;
        }

        static String customer(EventRecord fact) {
            return fact.payload().at("/customer/name").asText();
        }

        String text() {
            StringBuilder lines = new StringBuilder();
            table.tools()
                    .forEach((id, row) -> lines.append(id)
                            .append(' ')
                            .append(row.kind())
                            .append(row.customer() == null ? " in" : " out " + row.customer())
                            .append(System.lineSeparator()));
            int size = table.tools().size();
            return lines.append(size == 1 ? "1 tool" : size + " tools").toString();
        }
    }
}
