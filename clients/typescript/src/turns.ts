/** Owns that what several ask for at the same time is done one after the other. */

export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Does it when all that was asked for before is done, or has failed. */
  take<T>(doing: () => Promise<T>): Promise<T> {
    const done = this.#last.then(doing, doing);
    this.#last = done;
    return done;
  }
}
