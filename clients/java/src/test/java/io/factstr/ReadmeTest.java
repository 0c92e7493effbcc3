package io.factstr;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.factstr.testing.TestServer;
import java.io.StringWriter;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The README's snippets are one program: they compile, and run against a server. */
@Timeout(value = 60, unit = TimeUnit.SECONDS, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ReadmeTest {
    private static final Pattern SNIPPET = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);

    @TempDir
    private Path folder;

    @Test
    void snippetsCompileAndRun() throws Exception {
        String snippets = SNIPPET.matcher(Files.readString(Path.of("README.md")))
                .results()
                .map((MatchResult found) -> found.group(1))
                .collect(Collectors.joining());
        List<String> lines = snippets.lines().toList();
        String imports = lines.stream().filter(ReadmeTest::isImport).collect(Collectors.joining("\n"));
        String body = lines.stream().filter(line -> !isImport(line)).collect(Collectors.joining("\n"));
        try (TestServer server = TestServer.start()) {
            run(imports + "\npublic class Readme {\npublic static void main(String[] arguments) throws Exception {\n"
                    + body.replace("localhost:50051", server.target()) + "\nstore.close();\n}\n}\n");
        }
    }

    private static boolean isImport(String line) {
        return line.startsWith("import ");
    }

    private void run(String program) throws Exception {
        Path source = Files.writeString(folder.resolve("Readme.java"), program);
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        StringWriter said = new StringWriter();
        try (StandardJavaFileManager files = compiler.getStandardFileManager(null, null, null)) {
            List<String> flags = List.of("-proc:none", "-d", folder.toString());
            assertTrue(
                    compiler.getTask(said, files, null, flags, null, files.getJavaFileObjects(source))
                            .call(),
                    said::toString);
        }
        try (URLClassLoader classes =
                new URLClassLoader(new URL[] {folder.toUri().toURL()})) {
            classes.loadClass("Readme").getMethod("main", String[].class).invoke(null, (Object) new String[0]);
        }
    }
}
