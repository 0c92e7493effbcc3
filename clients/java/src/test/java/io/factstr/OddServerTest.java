package io.factstr;

import static org.junit.jupiter.api.Assertions.assertFalse;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.factstr.v1.EventStoreServiceGrpc;
import io.factstr.v1.StreamAllRequest;
import io.factstr.v1.StreamResponse;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What a server may say that no real one does. */
@Timeout(value = 60, unit = TimeUnit.SECONDS, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class OddServerTest extends EventStoreServiceGrpc.EventStoreServiceImplBase {
    private final CountDownLatch refused = new CountDownLatch(1);
    private boolean hasBegun;
    private Server server;
    private EventStore store;

    /** Begins, and refuses all later calls for as long as it can say. */
    @Override
    public synchronized void streamAll(StreamAllRequest request, StreamObserver<StreamResponse> answers) {
        if (hasBegun) {
            answers.onError(refusal(Duration.newBuilder()
                    .setSeconds(Long.MAX_VALUE)
                    .setNanos(999_999_999)
                    .build()));
            refused.countDown();
            return;
        }
        hasBegun = true;
        StreamResponse.Builder message = StreamResponse.newBuilder();
        message.getStartedBuilder().setStoreId("s").setHistoryId("h");
        answers.onNext(message.build());
        answers.onError(Status.UNAVAILABLE.asRuntimeException());
    }

    private static StatusRuntimeException refusal(Duration retryDelay) {
        return StatusProto.toStatusRuntimeException(com.google.rpc.Status.newBuilder()
                .setCode(Status.Code.RESOURCE_EXHAUSTED.value())
                .addDetails(Any.pack(ErrorInfo.newBuilder()
                        .setDomain("factstr")
                        .setReason("SERVER_BUSY")
                        .build()))
                .addDetails(Any.pack(
                        RetryInfo.newBuilder().setRetryDelay(retryDelay).build()))
                .build());
    }

    @BeforeEach
    void start() throws IOException {
        server = NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0))
                .addService(this)
                .build()
                .start();
        store = EventStore.connect(
                "127.0.0.1:" + server.getPort(),
                ConnectOptions.DEFAULT.withRetries(
                        Retries.DEFAULT.withDelays(java.time.Duration.ZERO, java.time.Duration.ZERO)));
    }

    @AfterEach
    void stop() {
        store.close();
        server.shutdownNow();
    }

    @Test
    void aStreamWaitsForAsLongAsItIsAskedToAndCanBeClosed() throws InterruptedException {
        LiveStream stream = store.streamAll();
        Thread closing = new Thread(() -> {
            try {
                refused.await();
            } catch (InterruptedException leftAlone) {
                return;
            }
            stream.close();
        });
        closing.start();
        assertFalse(stream.iterator().hasNext());
        closing.join();
    }
}
