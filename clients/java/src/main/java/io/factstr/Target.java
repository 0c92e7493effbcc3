package io.factstr;

import java.net.InetAddress;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.UnknownHostException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Owns what a target may be: {@code host:port}, {@code [v6 address]:port} or {@code unix:/path}.
 *
 * @param uri as gRPC takes it
 * @param isLocal whether it stays on this machine: a Unix socket or a loopback address
 */
record Target(String uri, boolean isLocal) {
    private static final Pattern HOST_AND_PORT = Pattern.compile("(\\[[^]/]+]|[^:/,\\[\\]\\s]+):(\\d{1,5})");
    private static final Pattern LOOPBACK_V4 = Pattern.compile("127(\\.\\d{1,3}){3}");

    static Target parse(String text) {
        if (text.startsWith("unix:/")) {
            return new Target(socket(text), true);
        }
        Matcher found = HOST_AND_PORT.matcher(text);
        if (!found.matches() || !isPort(Integer.parseInt(found.group(2)))) {
            throw refused(text);
        }
        String host = found.group(1);
        boolean isLocal = host.startsWith("[")
                ? v6(host, text).isLoopbackAddress()
                : host.equals("localhost") || LOOPBACK_V4.matcher(host).matches();
        return new Target("dns:///" + text, isLocal);
    }

    private static String socket(String text) {
        try {
            // As many slashes as one: two would name a host. A space, and what else no URI holds, is escaped.
            String path = text.substring("unix:".length()).replaceFirst("^/+", "/");
            return new URI("unix", null, path, null).toASCIIString();
        } catch (URISyntaxException impossible) {
            throw new IllegalArgumentException("the target is " + text + "; no socket has such a path", impossible);
        }
    }

    private static boolean isPort(int number) {
        return 0 < number && number < 1 << 16;
    }

    private static InetAddress v6(String host, String text) {
        try {
            // What stands in brackets is taken as an address, never looked up.
            return InetAddress.getByName(host);
        } catch (UnknownHostException noAddress) {
            throw refused(text);
        }
    }

    private static IllegalArgumentException refused(String text) {
        return new IllegalArgumentException(
                "the target is " + text + "; it must be host:port, for example localhost:50051, or unix:/path");
    }
}
