// Does something again and again while a section is looked at, one at a time.

export class Refresher {
  #work;
  #everyMs;
  #timer = null;
  #running = null;
  #isOn = false;

  /** @param {Function} work gets a signal that says when its answer is not wanted any longer */
  constructor(everyMs, work) {
    this.#everyMs = everyMs;
    this.#work = work;
    document.addEventListener("visibilitychange", () => {
      if (this.#isOn && !document.hidden) this.now();
    });
  }

  /** From now on. */
  start() {
    this.#isOn = true;
    this.now();
  }

  stop() {
    this.#isOn = false;
    clearTimeout(this.#timer);
    this.#running?.abort();
  }

  /** At once, instead of what is under way, if anybody looks. */
  async now() {
    if (!this.#isOn) return;
    clearTimeout(this.#timer);
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    try {
      await this.#work(running.signal);
    } catch (error) {
      // Somebody else's turn; the work itself tells of everything else that goes wrong.
      if (!running.signal.aborted) throw error;
    }
    if (running.signal.aborted || !this.#isOn) return;
    // A page that nobody sees asks for nothing until it is seen.
    this.#timer = setTimeout(() => !document.hidden && this.now(), this.#everyMs);
  }
}
