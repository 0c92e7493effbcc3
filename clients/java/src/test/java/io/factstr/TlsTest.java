package io.factstr;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TlsTest {
    @TempDir
    private Path folder;

    @Test
    void aFileThatCannotBeReadIsNamed() {
        Path missing = folder.resolve("missing.pem");
        assertNames(missing, Tls.SYSTEM.withCa(missing));
        assertNames(missing, Tls.SYSTEM.withCertificate(missing, folder));
        assertNames(folder, Tls.SYSTEM.withCa(folder));
    }

    @Test
    void aFileWithoutACertificateIsNamed() throws IOException {
        Path empty = Files.createFile(folder.resolve("empty.pem"));
        Path key = Files.writeString(
                folder.resolve("key.pem"), "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
        assertNames(empty, Tls.SYSTEM.withCa(empty));
        assertNames(key, Tls.SYSTEM.withCa(key));
        assertNames(key, Tls.SYSTEM.withCertificate(key, key));
    }

    private static void assertNames(Path file, Tls tls) {
        ConnectOptions options = ConnectOptions.DEFAULT.withTls(tls);
        var refused = assertThrows(IllegalArgumentException.class, () -> EventStore.connect("localhost:1", options));
        assertTrue(refused.getMessage().endsWith(file.toString()), refused::getMessage);
    }
}
