/** Owns how a server is reached: target, TLS, token, and the options of the channel. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { BlockList, isIP, isIPv6 } from "node:net";

import { type ChannelCredentials, type ChannelOptions, credentials } from "@grpc/grpc-js";

import { checkedMilliseconds } from "./checks.js";
import { type Retries, retrySettings, type RetrySettings } from "./retry.js";

/** How to verify the server, and how to show who is calling. Each file is PEM, and read by `connect`. */
export interface TlsFiles {
  /** The authorities to trust, in place of those that Node trusts. */
  readonly ca?: string | URL | undefined;
  /** The caller's own certificate; it takes its `key` too. */
  readonly cert?: string | URL | undefined;
  /** The key of `cert`. */
  readonly key?: string | URL | undefined;
  /** The name that the server's certificate must bear when it is not the target's. */
  readonly serverName?: string | undefined;
}

/** How to reach a server, and how long its calls may take. */
export interface ConnectOptions {
  /** TLS: `true` with the authorities that Node trusts, or files. Plaintext when left out. */
  readonly tls?: boolean | TlsFiles | undefined;
  /** Goes with every call as `authorization: Bearer TOKEN`. */
  readonly token?: string | undefined;
  /** Let the token go over a network in plaintext, where everyone on the way can read it. */
  readonly allowPlaintextToken?: boolean | undefined;
  /**
   * How many milliseconds each call may take, its repetitions included (30,000); of a query, each wait for the server, and
   * of a stream, its opening. `Infinity` is no timeout.
   */
  readonly timeout?: number | undefined;
  /** How often failed calls are repeated. */
  readonly retries?: Retries | undefined;
}

/** What it takes to open a channel, and what every call on it carries. */
export interface Connection {
  readonly address: string;
  readonly credentials: ChannelCredentials;
  readonly options: ChannelOptions;
  readonly authorization: string | undefined;
  readonly timeout: number;
  readonly retries: RetrySettings;
}

/** Returns how to reach `target`: see `connect`, which says what it throws. */
export function connection(
  target: string,
  { tls = false, token, allowPlaintextToken = false, timeout = 30_000, retries }: ConnectOptions,
): Connection {
  const { address, isLocal } = resolved(target);
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new TypeError("token must be printable ASCII characters without spaces, at least one");
  }
  if (token !== undefined && tls === false && !isLocal && !allowPlaintextToken) {
    throw new TypeError(
      `the token would go to ${target} in plaintext; use tls, or allow it with allowPlaintextToken`,
    );
  }
  const files = typeof tls === "boolean" ? {} : tls;
  return {
    address,
    credentials: tls === false ? credentials.createInsecure() : tlsCredentials(files),
    options: channelOptions(isLocal, files.serverName),
    authorization: token && `Bearer ${token}`,
    timeout: checkedMilliseconds("timeout", timeout),
    retries: retrySettings(retries),
  };
}

function channelOptions(isLocal: boolean, serverName: string | undefined): ChannelOptions {
  return {
    "grpc.primary_user_agent": "factstr-typescript",
    // Calls are repeated here, by reason. gRPC's transparent retries stay: they repeat what no server has seen.
    "grpc.enable_retries": 0,
    // A service config from DNS could bring a retry policy that repeats appends blindly.
    "grpc.service_config_disable_resolution": 1,
    // A dead connection is noticed within 40 s while a call is under way; nothing is sent while there is none.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    // At most 5 s away from a server that has come back: gRPC adds a random fifth. Its own limit is two minutes, and
    // it would not look up a name again for half a minute.
    "grpc.max_reconnect_backoff_ms": 4_000,
    "grpc.dns_min_time_between_resolutions_ms": 4_000,
    // A proxy from the environment is for others' servers, never for this machine's own.
    ...(isLocal && { "grpc.enable_http_proxy": 0 }),
    ...(serverName !== undefined && { "grpc.ssl_target_name_override": serverName }),
  };
}

function tlsCredentials({ ca, cert, key }: TlsFiles): ChannelCredentials {
  if ((cert === undefined) !== (key === undefined)) {
    throw new TypeError("a client certificate takes both: cert and key");
  }
  const [authorities, ownKey, ownCert] = [read("tls.ca", ca), read("tls.key", key), read("tls.cert", cert)];
  if (authorities !== null) {
    // OpenSSL takes a file without one for no authorities at all.
    orUsage(`tls.ca, ${String(ca)}, holds no certificate`, () => new X509Certificate(authorities));
  }
  return orUsage(`tls.cert, ${String(cert)}, and tls.key, ${String(key)}, cannot be used`, () =>
    credentials.createSsl(authorities, ownKey, ownCert),
  );
}

function read(name: string, file: string | URL | undefined): Buffer | null {
  return file === undefined
    ? null
    : orUsage(`${name}, ${String(file)}, cannot be read`, () => readFileSync(file));
}

/** Returns what the work does. Throws a TypeError that says what is wrong when it throws. */
function orUsage<T>(wrong: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new TypeError(`${wrong}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8);
loopback.addAddress("::1", "ipv6");

/** Returns gRPC's address of a target, and whether it stays on this machine. */
function resolved(target: string): { address: string; isLocal: boolean } {
  if (target.startsWith("unix:/")) {
    return { address: target, isLocal: true };
  }
  const found = /^(?:\[(?<v6>[^\]]+)\]|(?<name>[^:/,[\]\s]+)):(?<port>\d{1,5})$/.exec(target)?.groups;
  const host = found?.["v6"] ?? found?.["name"];
  const port = Number(found?.["port"]);
  if (host === undefined || (found?.["v6"] !== undefined && !isIPv6(host)) || port < 1 || port > 65_535) {
    throw new TypeError(
      `the target is ${JSON.stringify(target)}; it must be host:port, [v6 address]:port, or unix:/path`,
    );
  }
  const family = isIP(host);
  const isLocal = family === 0 ? host === "localhost" : loopback.check(host, family === 6 ? "ipv6" : "ipv4");
  // With its scheme, or gRPC would take a host for one that bears the name of another scheme.
  return { address: `dns:${target}`, isLocal };
}
