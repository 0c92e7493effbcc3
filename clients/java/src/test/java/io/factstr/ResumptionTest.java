package io.factstr;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ResumptionTest {
    private static Duration said(long seconds, int nanos) {
        return Duration.newBuilder().setSeconds(seconds).setNanos(nanos).build();
    }

    @ParameterizedTest
    @CsvSource({
        "9223372036854775807, 2147483647, PT87660000H2.147483647S",
        "1, 500000000, PT1.5S",
        "0, 0,",
        "-1, 0,",
        "-9223372036854775808, -2147483648,"
    })
    void aTimeIsNoLongerThanCanBeCountedAndNoneUnlessItIsPositive(long seconds, int nanos, String expected) {
        assertEquals(
                expected,
                Clock.positive(said(seconds, nanos)).map(Object::toString).orElse(null));
    }

    @ParameterizedTest
    @CsvSource({"2, 11000000000", "0, 35000000000", "-9223372036854775808, 35000000000"})
    void aStreamIsPatientForThreeHeartbeatsOrTheUsualOnes(long seconds, long nanos) {
        assertEquals(nanos, patience(seconds));
    }

    @Test
    void noHeartbeatIsTooRareToBeWaitedFor() {
        assertEquals(Clock.FOREVER, patience(Long.MAX_VALUE));
    }

    @Test
    void aStreamWaitsForAsLongAsItIsAskedTo() {
        StatusRuntimeException refusal = StatusProto.toStatusRuntimeException(com.google.rpc.Status.newBuilder()
                .setCode(Status.Code.RESOURCE_EXHAUSTED.value())
                .addDetails(Any.pack(ErrorInfo.newBuilder()
                        .setDomain("factstr")
                        .setReason("SERVER_BUSY")
                        .build()))
                .addDetails(Any.pack(RetryInfo.newBuilder()
                        .setRetryDelay(said(Long.MAX_VALUE, 999_999_999))
                        .build()))
                .build());
        assertEquals(Clock.FOREVER, opened(10).delayAfter(refusal));
    }

    private static long patience(long heartbeatSeconds) {
        return opened(heartbeatSeconds).patienceNanos();
    }

    private static Resumption opened(long heartbeatSeconds) {
        Calls calls = new Calls(null, Retries.DEFAULT, java.time.Duration.ofSeconds(30), new Lifetime(), Set.of());
        Resumption resumption = new Resumption(calls, null);
        resumption.opened(said(heartbeatSeconds, 0));
        return resumption;
    }
}
