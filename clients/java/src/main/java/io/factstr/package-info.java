/**
 * Client of the FACTSTR event store: append facts, query them, decide on a context, follow and project.
 *
 * <pre>{@code
 * try (EventStore store = EventStore.connect("localhost:50051")) {
 *     store.append(new Event("tool-registered", Map.of("tool", Map.of("id", "drill-1"))));
 * }
 * }</pre>
 *
 * <p>Calls block, on platform threads and on virtual ones. Everything that goes wrong is a {@link
 * io.factstr.FactstrException}, but for wrong usage: an {@link java.lang.IllegalArgumentException}, {@link
 * java.lang.IllegalStateException} or {@link java.lang.NullPointerException}. Interrupting a thread cancels what it
 * waits for, which shows as {@link io.factstr.CallInterruptedException}, of an append that may have been sent as {@link
 * io.factstr.OutcomeUnknownException}; the thread stays interrupted.
 *
 * <p>Sequence numbers of the contract are unsigned; here they are a {@code long} from 0 on, which is further than any
 * log reaches.
 */
package io.factstr;
