/** Owns how what is under way is ended from outside, and how it waits without missing that. */
import { setMaxListeners } from "node:events";

/**
 * The end of something under way: it comes from `end`, or from the first of some signals that aborts, with its reason.
 *
 * `AbortSignal.any` would do the same, but on Node 20 what it makes is kept for as long as its sources, and here one
 * source lives as long as the store.
 */
export class Ending {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];

  constructor(...sources: (AbortSignal | undefined)[]) {
    this.#sources = sources.filter((source) => source !== undefined);
    for (const source of this.#sources) {
      // Many calls at a time share one; each stops listening when it is done, so there is no leak to warn of.
      setMaxListeners(0, source);
      source.addEventListener("abort", this.#follow);
      if (source.aborted) {
        this.end(source.reason);
        break;
      }
    }
  }

  /** Aborts at the end, once. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Tells whether it has ended. */
  isOver(): boolean {
    return this.signal.aborted;
  }

  /** Why it has ended. */
  get reason(): unknown {
    return this.signal.reason as unknown;
  }

  /** Ends it, unless it has ended: the first reason stays. */
  end(reason: unknown): void {
    this.#controller.abort(reason);
    this.release();
  }

  /** Stops following the signals. */
  release(): void {
    for (const source of this.#sources) {
      source.removeEventListener("abort", this.#follow);
    }
  }

  readonly #follow = (event: Event): void => {
    this.end((event.target as AbortSignal).reason);
  };
}

/** The longest that a timer can wait, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Calls back after so many milliseconds, at most those of about 24 days; an infinite time never comes. */
export function timer(milliseconds: number, callback: () => void): NodeJS.Timeout {
  return setTimeout(callback, Math.min(milliseconds, LONGEST_TIMER));
}

/** Waits for the promise, which goes on by itself, or throws the signal's reason when that aborts before. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) {
    return promise;
  }
  signal.throwIfAborted();
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => {
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", stop);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Waits so many milliseconds, or until the signal aborts. */
export function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(waiting);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const waiting = timer(milliseconds, done);
    signal?.addEventListener("abort", done);
    if (signal?.aborted) {
      done();
    }
  });
}
