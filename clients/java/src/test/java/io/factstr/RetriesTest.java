package io.factstr;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RetriesTest {
    @ParameterizedTest
    @CsvSource({"0, 50", "1, 100", "4, 800", "5, 1600", "6, 2000", "63, 2000", "64, 2000", "2147483647, 2000"})
    void delaysDoubleUpToTheLongestAndHalfOfThemIsRandom(int repetition, long milliseconds) {
        long longest = Duration.ofMillis(milliseconds).toNanos();
        for (int sample = 0; sample < 1_000; sample++) {
            long delay = Retries.DEFAULT.delayNanos(repetition);
            assertTrue(longest / 2 <= delay && delay <= longest, () -> delay + " of " + longest);
        }
    }

    @Test
    void anOrdinaryRestartIsSurvived() {
        assertEquals(20, Retries.DEFAULT.limit());
    }

    @Test
    void noDelayIsTooLongToBeCounted() {
        Retries patient = Retries.DEFAULT.withDelays(Duration.ofDays(1), Duration.ofSeconds(Long.MAX_VALUE));
        assertTrue(
                patient.delayNanos(Integer.MAX_VALUE) > Duration.ofDays(10_000).toNanos());
        assertEquals(0, Retries.DEFAULT.withDelays(Duration.ZERO, Duration.ZERO).delayNanos(7));
    }

    @Test
    void negativeNumbersAreWrongUsage() {
        assertThrows(IllegalArgumentException.class, () -> Retries.DEFAULT.withLimit(-1));
        Duration negative = Duration.ofNanos(-1);
        assertThrows(IllegalArgumentException.class, () -> Retries.DEFAULT.withDelays(negative, Duration.ZERO));
        assertThrows(IllegalArgumentException.class, () -> Retries.DEFAULT.withDelays(Duration.ZERO, negative));
    }

    @Test
    void aTimeThatCannotPassIsWrongUsage() {
        assertThrows(IllegalArgumentException.class, () -> ConnectOptions.DEFAULT.withTimeout(Duration.ZERO));
        assertThrows(IllegalArgumentException.class, () -> StreamOptions.DEFAULT.withGiveUpAfter(Duration.ZERO));
        assertThrows(IllegalArgumentException.class, () -> DurableOptions.DEFAULT.withGiveUpAfter(Duration.ZERO));
    }
}
