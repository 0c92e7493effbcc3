package io.factstr;

import io.grpc.ChannelCredentials;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Owns the making of channels: their options, and how often they try to connect. */
final class Channels {
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
     * Cuts short gRPC's wait between attempts to connect, which is a second at first, grows to two minutes and cannot
     * be set: too long to stay away from a server that has come back.
     */
    private static final class Reconnecting {
        private static final long FIRST_DELAY = TimeUnit.MILLISECONDS.toNanos(100);
        private static final long LONGEST_DELAY = TimeUnit.SECONDS.toNanos(5);

        private final ManagedChannel channel;
        private long delay = FIRST_DELAY;
        private boolean isPlanned;

        Reconnecting(ManagedChannel channel) {
            this.channel = channel;
        }

        synchronized void look() {
            ConnectivityState state = channel.getState(false);
            if (state == ConnectivityState.SHUTDOWN) {
                return;
            }
            if (state == ConnectivityState.READY) {
                delay = FIRST_DELAY;
            }
            channel.notifyWhenStateChanged(state, this::look);
            plan(state);
        }

        private void plan(ConnectivityState state) {
            if (state == ConnectivityState.TRANSIENT_FAILURE && !isPlanned) {
                isPlanned = true;
                CompletableFuture.delayedExecutor(delay, TimeUnit.NANOSECONDS).execute(this::again);
                delay = Math.min(LONGEST_DELAY, delay + delay / 2);
            }
        }

        private synchronized void again() {
            isPlanned = false;
            ConnectivityState state = channel.getState(false);
            if (state == ConnectivityState.TRANSIENT_FAILURE) {
                channel.resetConnectBackoff();
            }
            plan(state);
        }
    }
}
