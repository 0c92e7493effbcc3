/** Owns a memory server for a test: started, connected to, and stopped with it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

const FLAGS = ["--store", "memory:", "--listen", "127.0.0.1:0", "--log-format", "text", "--stop-at-eof"];
const MILLISECONDS_TO_STOP = 30_000;

/** A server that runs for a test. */
export interface TestServer extends AsyncDisposable {
  /** Where it is, for `connect`. */
  readonly target: string;
  /** Stops it, and waits until it has ended. Harmless again. */
  stop(): Promise<void>;
}

/**
 * Starts a server with an empty store in memory: the command line in the environment's FACTSTR_SERVER, or
 * `factstr-server` on the path.
 *
 *     await using server = await startServer();
 *     await using store = connect(server.target);
 *
 * It ends when its standard input does, so also when this process is killed.
 *
 * @throws {Error} when there is no such command, or, with what it said, when it does not start
 */
export async function startServer(): Promise<TestServer> {
  const commandLine = process.env["FACTSTR_SERVER"] ?? "";
  const [command = "factstr-server", ...flags] = Array.from(
    commandLine.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g),
    ([, double, single, bare]) => double ?? single ?? bare ?? "",
  );
  // Only the flags say how it runs.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith("FACTSTR_")),
  );
  const server = spawn(command, [...flags, ...FLAGS], { env, stdio: ["pipe", "ignore", "pipe"] });
  const ended = once(server, "close").catch((error: unknown) => {
    throw isMissing(error)
      ? new Error(`there is no ${command}: install factstr-server, or name its command in FACTSTR_SERVER`, {
          cause: error,
        })
      : error;
  });
  // Looked at when it is stopped; until then it is no unhandled rejection.
  ended.catch(() => undefined);
  const stop = async (): Promise<void> => {
    // What it says must not fill the pipe, or it would wait.
    server.stderr.resume();
    server.stdin.end();
    const killing = setTimeout(() => server.kill("SIGKILL"), MILLISECONDS_TO_STOP);
    try {
      await ended;
    } finally {
      clearTimeout(killing);
    }
  };
  const target = await whenReady(server.stderr).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  server.stderr.resume();
  return { target, stop, [Symbol.asyncDispose]: stop };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

/** Returns the address that the log names when the server serves. */
async function whenReady(log: Readable): Promise<string> {
  const said: string[] = [];
  for await (const line of createInterface(log)) {
    const target = / serves .* on (\S+)$/.exec(line)?.[1];
    if (target !== undefined) {
      return target;
    }
    said.push(line);
  }
  throw new Error(`the server did not start: ${said.join("\n").trim() || "it said nothing"}`);
}
