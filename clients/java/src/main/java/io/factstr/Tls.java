package io.factstr;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;

/**
 * How to verify the server, and how to show who is calling. Each file is PEM; what is null is left to the system.
 *
 * @param ca the authorities to trust instead of the system's, or null
 * @param cert the caller's own certificate, with {@code key}, or null
 * @param key the key of {@code cert}, or null
 * @param serverName the name that the server's certificate must bear when it is not the target's, or null
 */
public record Tls(Path ca, Path cert, Path key, String serverName) {
    /** The server is verified by the authorities of the system; the caller shows no certificate. */
    public static final Tls SYSTEM = new Tls(null, null, null, null);

    /**
     * Checks that {@code cert} and {@code key} come together.
     *
     * @throws IllegalArgumentException when only one of them is given
     */
    public Tls {
        if ((cert == null) != (key == null)) {
            throw new IllegalArgumentException("a client certificate takes both: cert and key");
        }
    }

    /**
     * Returns these settings with other authorities to trust.
     *
     * @param authorities a PEM file
     * @return the same settings with it
     */
    public Tls withCa(Path authorities) {
        return new Tls(authorities, cert, key, serverName);
    }

    /**
     * Returns these settings with a certificate of the caller's.
     *
     * @param certificate a PEM file
     * @param privateKey a PEM file with its key
     * @return the same settings with them
     */
    public Tls withCertificate(Path certificate, Path privateKey) {
        return new Tls(ca, certificate, privateKey, serverName);
    }

    /**
     * Returns these settings with the name that the server's certificate must bear.
     *
     * @param name the name
     * @return the same settings with it
     */
    public Tls withServerName(String name) {
        return new Tls(ca, cert, key, name);
    }

    ChannelCredentials credentials() {
        TlsChannelCredentials.Builder credentials = TlsChannelCredentials.newBuilder();
        Path file = ca;
        try {
            if (ca != null) {
                credentials.trustManager(certificates(ca));
            }
            if (cert != null) {
                file = cert;
                InputStream certificate = certificates(cert);
                file = key;
                credentials.keyManager(certificate, PrivateKeys.read(key));
            }
        } catch (IOException unreadable) {
            throw new IllegalArgumentException("a file of TLS cannot be read: " + file, unreadable);
        }
        return credentials.build();
    }

    private static InputStream certificates(Path file) throws IOException {
        byte[] pem = Files.readAllBytes(file);
        CertificateException reason = null;
        try {
            CertificateFactory factory = CertificateFactory.getInstance("X.509");
            if (!factory.generateCertificates(new ByteArrayInputStream(pem)).isEmpty()) {
                return new ByteArrayInputStream(pem);
            }
        } catch (CertificateException damaged) {
            reason = damaged;
        }
        throw new IllegalArgumentException("a file of TLS holds no certificate: " + file, reason);
    }
}
