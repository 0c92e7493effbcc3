package io.factstr;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HexFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Owns the reading of private keys in the older forms that OpenSSL and certificate managers still write, of RSA (PKCS
 * #1) and of elliptic curves (SEC 1). gRPC takes PKCS #8 alone, which is these in an envelope that names the algorithm.
 */
final class PrivateKeys {
    private static final Pattern OLDER = Pattern.compile(
            "-----BEGIN (RSA|EC) PRIVATE KEY-----([A-Za-z0-9+/=\\s]+)-----END (?:RSA|EC) PRIVATE KEY-----");

    private static final int INTEGER = 0x02;
    private static final int OCTET_STRING = 0x04;
    private static final int SEQUENCE = 0x30;
    private static final int PARAMETERS = 0xA0;

    /** The version of PKCS #8: 0. */
    private static final byte[] VERSION = HexFormat.of().parseHex("020100");
    /** rsaEncryption, without parameters. */
    private static final byte[] RSA = HexFormat.of().parseHex("06092a864886f70d0101010500");
    /** id-ecPublicKey; the curve follows. */
    private static final byte[] EC = HexFormat.of().parseHex("06072a8648ce3d0201");

    private PrivateKeys() {}

    /** Returns the file as PEM that holds PKCS #8; any other content as it is. */
    static InputStream read(Path file) throws IOException {
        String pem = Files.readString(file, StandardCharsets.ISO_8859_1);
        Matcher older = OLDER.matcher(pem);
        if (older.find()) {
            byte[] key = Base64.getMimeDecoder().decode(older.group(2));
            byte[] algorithm = older.group(1).equals("RSA") ? RSA : joined(EC, curve(key, file));
            byte[] envelope = der(SEQUENCE, joined(VERSION, der(SEQUENCE, algorithm), der(OCTET_STRING, key)));
            pem = "-----BEGIN PRIVATE KEY-----\n" + Base64.getMimeEncoder().encodeToString(envelope)
                    + "\n-----END PRIVATE KEY-----\n";
        }
        return new ByteArrayInputStream(pem.getBytes(StandardCharsets.ISO_8859_1));
    }

    /** The name of the curve, which SEC 1 has inside of the key. */
    private static byte[] curve(byte[] key, Path file) {
        try {
            ByteBuffer fields = value(ByteBuffer.wrap(key), SEQUENCE);
            value(fields, INTEGER);
            value(fields, OCTET_STRING);
            ByteBuffer name = value(fields, PARAMETERS);
            byte[] curve = new byte[name.remaining()];
            name.get(curve);
            return curve;
        } catch (BufferUnderflowException | IllegalArgumentException damaged) {
            throw new IllegalArgumentException(file + " holds no private key that names its curve", damaged);
        }
    }

    /** Reads the next value, and checks what it is. */
    private static ByteBuffer value(ByteBuffer from, int tag) {
        int found = from.get() & 0xFF;
        int length = from.get() & 0xFF;
        if (length > 0x80) {
            int bytes = length - 0x80;
            length = 0;
            for (int index = 0; index < bytes; index++) {
                length = length << 8 | from.get() & 0xFF;
            }
        }
        if (found != tag || length > from.remaining() || length < 0) {
            throw new IllegalArgumentException("not the structure of a key");
        }
        ByteBuffer value = from.slice(from.position(), length);
        from.position(from.position() + length);
        return value;
    }

    private static byte[] der(int tag, byte[] value) {
        // The shortest that holds it, as DER has it; no key is longer than two bytes can say.
        byte[] head = value.length < 0x80
                ? new byte[] {(byte) tag, (byte) value.length}
                : value.length < 0x100
                        ? new byte[] {(byte) tag, (byte) 0x81, (byte) value.length}
                        : new byte[] {(byte) tag, (byte) 0x82, (byte) (value.length >> 8), (byte) value.length};
        return joined(head, value);
    }

    private static byte[] joined(byte[]... parts) {
        ByteArrayOutputStream whole = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            whole.writeBytes(part);
        }
        return whole.toByteArray();
    }
}
