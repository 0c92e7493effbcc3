package io.factstr;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyPairGenerator;
import java.util.Arrays;
import java.util.Base64;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Keys of elliptic curves are tried by the conformance cases. */
class PrivateKeysTest {
    /** Of the envelope around an RSA key of 2,048 bits. */
    private static final int ENVELOPE_BYTES = 26;

    @TempDir
    private Path folder;

    private Path pem(String kind, byte[] key) throws IOException {
        String text = Base64.getMimeEncoder().encodeToString(key);
        return Files.writeString(
                folder.resolve("key.pem"), "-----BEGIN " + kind + "-----\n" + text + "\n-----END " + kind + "-----\n");
    }

    private static byte[] read(Path file) throws IOException {
        String text = new String(PrivateKeys.read(file).readAllBytes(), StandardCharsets.US_ASCII);
        return Base64.getMimeDecoder().decode(text.replaceAll("-----.*?-----", ""));
    }

    @Test
    void olderKeysOfRsaGetTheirEnvelope() throws IOException, GeneralSecurityException {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
        generator.initialize(2048);
        byte[] key = generator.generateKeyPair().getPrivate().getEncoded();
        byte[] inner = Arrays.copyOfRange(key, ENVELOPE_BYTES, key.length);
        assertArrayEquals(key, read(pem("RSA PRIVATE KEY", inner)));
        assertArrayEquals(key, read(pem("PRIVATE KEY", key)));
    }

    @Test
    void aDamagedKeyIsWrongUsage() throws IOException {
        Path damaged = pem("EC PRIVATE KEY", new byte[] {0x30, 0x05, 0x02, 0x01});
        assertThrows(IllegalArgumentException.class, () -> PrivateKeys.read(damaged));
    }
}
