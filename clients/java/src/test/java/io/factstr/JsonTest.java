package io.factstr;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonTest {
    private static EventRecord record(String payload) {
        return new EventRecord(1, Instant.EPOCH, "a", payload, Map.of());
    }

    private static String text(Object payload) {
        return new Event("a", payload).payload().text();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "9223372036854775807",
                "-9223372036854775808",
                "18446744073709551615",
                "9007199254740993",
                "123456789012345678901234567890.5",
                "0.1000000000000000055",
                "1.50",
                "1E-300",
                "[1,null,true,\"x\",{\"a\":[]}]"
            })
    void everyDigitIsReadAndWritten(String json) {
        assertEquals(json, text(record(json).payload()));
    }

    @Test
    void numbersOfJavaAreWrittenExactly() {
        assertEquals("9223372036854775807", text(Long.MAX_VALUE));
        assertEquals("18446744073709551616", text(BigInteger.TWO.pow(64)));
        assertEquals("0.10", text(new BigDecimal("0.10")));
        assertEquals("null", text(null));
    }

    @Test
    void aPayloadOfNullIsTheJsonNull() {
        assertEquals("null", new Event("a", null, Map.of()).payload().text());
        assertEquals(
                new JsonText("null"),
                EventFilter.payload(null).payloadPredicates().orElseThrow().get(0));
    }

    @Test
    void anEventTypeOfNullIsWrongUsage() {
        assertThrows(IllegalArgumentException.class, () -> new Event(null, 1));
        assertThrows(IllegalArgumentException.class, () -> EventFilter.types("a", null));
    }

    @Test
    void payloadsAreReadIntoClasses() {
        record Tool(String id, BigDecimal price) {}
        assertEquals(
                new Tool("drill-1", new BigDecimal("1.50")),
                record("{\"id\":\"drill-1\",\"price\":1.50,\"later\":true}").payloadAs(Tool.class));
        assertThrows(IllegalArgumentException.class, () -> record("[]").payloadAs(Tool.class));
    }

    @Test
    void aStringIsAJsonStringAndAJsonTextIsSentAsItIs() {
        assertEquals("\"{}\"", text("{}"));
        assertEquals("\"{}\"", new Event("a", "{}", Map.of()).payload().text());
        assertEquals(" { }", text(new JsonText(" { }")));
    }

    @Test
    void whatIsNoNumberOfJsonIsWrongUsage() {
        List.<Object>of(
                        Double.NaN,
                        Float.NEGATIVE_INFINITY,
                        new double[] {1, Double.POSITIVE_INFINITY},
                        new float[] {Float.NaN},
                        Map.of("a", List.of(Double.NaN)),
                        JsonNodeFactory.instance.numberNode(Double.NaN),
                        JsonNodeFactory.instance.arrayNode().add(Float.POSITIVE_INFINITY))
                .forEach(payload -> {
                    assertThrows(IllegalArgumentException.class, () -> text(payload));
                    assertThrows(IllegalArgumentException.class, () -> EventFilter.payload(payload));
                });
        assertEquals("[1.0,-0.0]", text(new double[] {1, -0.0}));
        assertEquals("\"NaN\"", text("NaN"));
    }

    @Test
    void halfASurrogatePairIsWrongUsage() {
        List.<Runnable>of(
                        () -> new Event("a", "\uD83D"),
                        () -> new Event("\uD83D", 1),
                        () -> new Event("a", 1, Map.of("k", "\uD83D")),
                        () -> new JsonText("\"\uDE00\""),
                        () -> EventFilter.types("\uD83D"))
                .forEach(attempt -> assertThrows(IllegalArgumentException.class, attempt::run));
        assertEquals("\"\uD83D\uDE00\"", text("\uD83D\uDE00"));
    }

    @Test
    void whatJsonCannotSayIsWrongUsage() {
        assertThrows(IllegalArgumentException.class, () -> text(new Object()));
    }

    @Test
    void payloadsBelongToWhoAsksForThem() {
        EventRecord fact = record("{\"n\":1}");
        JsonNode one = fact.payload();
        ((ObjectNode) one).removeAll();
        assertTrue(fact.payload().has("n"));
    }
}
