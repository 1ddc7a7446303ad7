/**
 * Hears of changes by server-sent events. A hidden tab listens to nothing; after a restart of the server the page
 * connects again by itself, and whoever listens is told that something may be missing.
 */

/** @typedef {"connecting" | "live" | "disconnected" | "paused"} Connection */

const RETRY_SECONDS = [1, 2, 4, 8];

export class Live {
  /** @type {EventSource | null} */
  #source = null;
  #failures = 0;
  #isMissing = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;

  /**
   * @param {object} told
   * @param {(change: import("./types.js").Change) => void} told.changed
   * @param {() => void} told.missed what was shown may be out of date
   * @param {(connection: Connection) => void} told.connection
   */
  constructor(told) {
    this.told = told;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.start()));
    addEventListener("online", () => this.start());
  }

  /** Connect, unless this is done or nobody is looking. */
  start() {
    if (document.hidden || this.#source !== null) return;
    clearTimeout(this.#retry);
    const source = (this.#source = new EventSource("api/events"));
    if (this.#failures === 0) this.told.connection("connecting");
    source.addEventListener("open", () => {
      this.#failures = 0;
      this.told.connection("live");
      if (this.#isMissing) this.told.missed();
      this.#isMissing = false;
    });
    source.addEventListener("changed", (event) => this.told.changed(JSON.parse(event.data)));
    source.addEventListener("reset", () => this.told.missed());
    source.addEventListener("error", () => this.#failed(source));
  }

  /** Listen no more. */
  stop() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }

  #pause() {
    if (this.#source === null && this.#failures === 0) return;
    this.stop();
    this.#isMissing = true;
    this.told.connection("paused");
  }

  /** @param {EventSource} source */
  #failed(source) {
    if (source !== this.#source) return;
    this.stop(); // the browser's own retries end at an error status, and say nothing about when
    const seconds = RETRY_SECONDS[Math.min(this.#failures, RETRY_SECONDS.length - 1)] ?? 1;
    this.#failures += 1;
    this.#isMissing = true;
    this.told.connection("disconnected");
    this.#retry = setTimeout(() => this.start(), seconds * 1000 * (0.8 + 0.4 * Math.random()));
  }
}
