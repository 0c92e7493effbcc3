/** The README: its snippets, in order, are one program that compiles under the strictest settings and runs. */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { connect } from "@factstr/client";
import { startServer } from "@factstr/client/testing";
import ts from "typescript";

const root = new URL("../../", import.meta.url);

test("the snippets of the README compile and run", async () => {
  await using server = await startServer();
  const readme = await readFile(new URL("README.md", root), "utf8");
  const snippets = Array.from(readme.matchAll(/^```ts\n(.*?)^```$/gms), ([, snippet]) => snippet ?? "");
  assert.ok(snippets.length >= 10);
  const program = [...snippets, "await store.close();"].join("\n").replace("localhost:50051", server.target);

  await mkdir(new URL("build/readme/", root), { recursive: true });
  const source = fileURLToPath(new URL("build/readme/snippets.ts", root));
  await writeFile(source, program);
  assert.equal(compiled(source), "");
  await import(new URL("build/readme/snippets.js", root).href);

  await using store = connect(server.target);
  const types = [];
  for await (const { eventType } of store.query()) {
    types.push(eventType);
  }
  assert.deepEqual(types, ["tool-registered", "tool-checked-out"]);
});

/** Compiles a file beside itself; returns what is wrong with it. */
function compiled(source: string): string {
  const settings = ts.getParsedCommandLineOfConfigFile(
    fileURLToPath(new URL("tsconfig.base.json", root)),
    { noEmitOnError: true },
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined },
  );
  assert.ok(settings);
  const program = ts.createProgram([source], settings.options);
  const wrong = [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics];
  return ts.formatDiagnostics(wrong, {
    getCanonicalFileName: (name) => name,
    getCurrentDirectory: () => fileURLToPath(root),
    getNewLine: () => "\n",
  });
}
