package io.factstr;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TargetTest {
    @ParameterizedTest
    @ValueSource(
            strings = {"localhost:1", "127.0.0.1:50051", "127.9.8.7:65535", "[::1]:50051", "unix:/run/factstr.sock"})
    void whatStaysOnThisMachineIsLocal(String target) {
        assertTrue(Target.parse(target).isLocal());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "facts.example:50051",
                "10.0.0.7:50051",
                "[2001:db8::1]:50051",
                "localhost.example:1",
                "127.example:1"
            })
    void whatCrossesANetworkIsNot(String target) {
        assertFalse(Target.parse(target).isLocal());
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "localhost",
                "localhost:",
                ":50051",
                "localhost:0",
                "localhost:65536",
                "localhost:http",
                "::1:50051",
                "[::1]",
                "[nowhere]:50051",
                "http://localhost:50051",
                "dns:localhost:50051",
                "a:1,b:2",
                "unix:relative"
            })
    void anythingElseIsWrongUsage(String target) {
        assertThrows(IllegalArgumentException.class, () -> EventStore.connect(target));
    }

    @Test
    void aTokenStaysOutOfSight() {
        assertFalse(ConnectOptions.DEFAULT.withToken("secret").toString().contains("secret"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "secret\n", "sec ret", "s\u00e9cret"})
    void aTokenThatNoHeaderCanCarryIsWrongUsage(String token) {
        var refused = assertThrows(IllegalArgumentException.class, () -> ConnectOptions.DEFAULT.withToken(token));
        assertFalse(refused.getMessage().contains("cret"));
    }

    @Test
    void aNameIsLookedUpAndASocketIsNot() {
        assertEquals("dns:///localhost:50051", Target.parse("localhost:50051").uri());
        assertEquals("unix:/run/f.sock", Target.parse("unix:/run/f.sock").uri());
        assertEquals("unix:/run/f.sock", Target.parse("unix:///run/f.sock").uri());
        assertEquals(
                "unix:/run/f%20100%25%C3%A9.sock",
                Target.parse("unix:/run/f 100%\u00e9.sock").uri());
    }
}
