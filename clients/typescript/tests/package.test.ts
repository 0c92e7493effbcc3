/** The package: what is in it, and nothing else. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

test("the package holds what is built, and no tests", () => {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const said = execFileSync("npm", ["pack", "--dry-run", "--ignore-scripts", "--json"], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [pack] = Object.values(JSON.parse(said) as Record<string, { files: { path: string }[] }>);
  const paths = pack?.files.map(({ path }) => path) ?? [];
  const others = paths.filter((path) => !path.startsWith("dist/"));
  assert.deepEqual(others.sort(), ["LICENSE", "README.md", "package.json"]);
  assert.ok(
    paths.includes("dist/index.js") && paths.includes("dist/index.d.ts") && paths.includes("dist/v1.d.ts"),
  );
  assert.deepEqual(
    paths.filter((path) => path.includes(".test.")),
    [],
  );
});
