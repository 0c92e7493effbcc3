package io.factstr;

import io.grpc.ChannelCredentials;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/** Owns the making of channels: their options, and how often they try to connect. */
final class Channels {
    private static final Executor IN_FIVE_SECONDS = CompletableFuture.delayedExecutor(5, TimeUnit.SECONDS);

    private Channels() {}

    static ManagedChannel open(Target target, ConnectOptions options) {
        ChannelCredentials credentials =
                options.tls().map(Tls::credentials).orElseGet(InsecureChannelCredentials::create);
        ManagedChannelBuilder<?> builder = Grpc.newChannelBuilder(target.uri(), credentials)
                .userAgent("factstr-java")
                // A service configuration from DNS could bring a retry policy that repeats appends blindly. gRPC's
                // transparent retries stay on: they repeat only what no server has seen.
                .disableServiceConfigLookUp()
                // A dead connection is noticed within 40 s while a call is under way; nothing is sent while there is
                // none.
                .keepAliveTime(30, TimeUnit.SECONDS)
                .keepAliveTimeout(10, TimeUnit.SECONDS);
        if (target.isLocal()) {
            // A proxy of the JVM is for others' servers, never for this machine's own.
            builder.proxyDetector(address -> null);
        }
        options.tls().map(Tls::serverName).ifPresent(builder::overrideAuthority);
        ManagedChannel channel = builder.build();
        new Reconnecting(channel).look();
        return channel;
    }

    /**
     * Cuts short gRPC's wait between attempts to connect, which grows to two minutes and cannot be set: too long to stay
     * away from a server that has come back.
     */
    private static final class Reconnecting {
        private final ManagedChannel channel;
        private final AtomicBoolean isPlanned = new AtomicBoolean();

        Reconnecting(ManagedChannel channel) {
            this.channel = channel;
        }

        void look() {
            ConnectivityState state = channel.getState(false);
            if (state == ConnectivityState.SHUTDOWN) {
                return;
            }
            channel.notifyWhenStateChanged(state, this::look);
            plan(state);
        }

        private void plan(ConnectivityState state) {
            if (state == ConnectivityState.TRANSIENT_FAILURE && isPlanned.compareAndSet(false, true)) {
                IN_FIVE_SECONDS.execute(this::again);
            }
        }

        private void again() {
            isPlanned.set(false);
            ConnectivityState state = channel.getState(false);
            if (state == ConnectivityState.TRANSIENT_FAILURE) {
                channel.resetConnectBackoff();
            }
            plan(state);
        }
    }
}
