/** Owns that what several ask for at the same time is done one after the other. */
import { unlessAborted } from "./ending.js";

export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Does it when all that was asked for before is done, or has failed; never, when the signal aborts before. */
  take<T>(doing: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#last;
    const done = unlessAborted(before, signal).then(doing);
    this.#last = Promise.allSettled([before, done]);
    return done;
  }
}
