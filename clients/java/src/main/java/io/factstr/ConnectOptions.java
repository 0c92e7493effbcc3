package io.factstr;

import java.time.Duration;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * How a server is reached, and how calls are bounded and repeated.
 *
 * @param tls how to verify the server; empty for plaintext
 * @param token goes with every call; empty for none
 * @param allowPlaintextToken whether the token may cross a network in plaintext, where everyone on the way can read it
 * @param timeout bounds each call, its repetitions included; of a query, each wait for the server
 * @param retries how often, and after how long, a failed call is repeated
 */
public record ConnectOptions(
        Optional<Tls> tls, Optional<String> token, boolean allowPlaintextToken, Duration timeout, Retries retries) {
    private static final Pattern VISIBLE_ASCII = Pattern.compile("[!-~]+");

    /** Plaintext, no token, 30 s for a call, and {@link Retries#DEFAULT}. */
    public static final ConnectOptions DEFAULT =
            new ConnectOptions(Optional.empty(), Optional.empty(), false, Duration.ofSeconds(30), Retries.DEFAULT);

    /**
     * Checks the timeout and the token.
     *
     * @throws IllegalArgumentException when the timeout is not positive, or the token not of visible ASCII alone
     */
    public ConnectOptions {
        if (token.isPresent() && !VISIBLE_ASCII.matcher(token.get()).matches()) {
            // Without the token, which is a secret. gRPC would log it, and send the call without it.
            throw new IllegalArgumentException("the token is empty, or holds anything but visible ASCII");
        }
        Clock.checked("timeout", timeout);
    }

    /**
     * Returns these options with TLS.
     *
     * @param settings {@link Tls#SYSTEM}, or files
     * @return the same options with it
     */
    public ConnectOptions withTls(Tls settings) {
        return new ConnectOptions(Optional.of(settings), token, allowPlaintextToken, timeout, retries);
    }

    /**
     * Returns these options with a token.
     *
     * @param secret sent with every call as {@code authorization: Bearer …}
     * @return the same options with it
     * @throws IllegalArgumentException when it is empty or holds anything but visible ASCII
     */
    public ConnectOptions withToken(String secret) {
        return new ConnectOptions(tls, Optional.of(secret), allowPlaintextToken, timeout, retries);
    }

    /**
     * Returns these options with another word on tokens in plaintext.
     *
     * @param allowed whether the token may cross a network in plaintext
     * @return the same options with it
     */
    public ConnectOptions withPlaintextToken(boolean allowed) {
        return new ConnectOptions(tls, token, allowed, timeout, retries);
    }

    /**
     * Returns these options with another timeout.
     *
     * @param limit for each call, its repetitions included
     * @return the same options with it
     */
    public ConnectOptions withTimeout(Duration limit) {
        return new ConnectOptions(tls, token, allowPlaintextToken, limit, retries);
    }

    /**
     * Returns these options with other repetitions.
     *
     * @param repetitions how often, and after how long
     * @return the same options with it
     */
    public ConnectOptions withRetries(Retries repetitions) {
        return new ConnectOptions(tls, token, allowPlaintextToken, timeout, repetitions);
    }

    /** Returns the options without the token, which is a secret. */
    @Override
    public String toString() {
        return "ConnectOptions[tls=" + tls + ", token=" + (token.isPresent() ? "…" : "none") + ", allowPlaintextToken="
                + allowPlaintextToken + ", timeout=" + timeout + ", retries=" + retries + "]";
    }
}
