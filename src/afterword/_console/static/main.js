/** The page: brings address, server and view together, and shows what comes of it. */

import { paints } from "./charts/paints.js";
import { header } from "./frame.js";
import { announce, region } from "./lib/announce.js";
import { ApiError, openSession } from "./lib/api.js";
import { heard, startTicking } from "./lib/clock.js";
import { append, h } from "./lib/dom.js";
import { Live } from "./lib/live.js";
import { morphChildren } from "./lib/morph.js";
import { address, parse, sinceOf } from "./lib/router.js";
import { show as showTheme, theme } from "./lib/theme.js";
import { login } from "./views/login.js";
import { now } from "./views/now.js";
import { run } from "./views/run.js";
import { runs } from "./views/runs.js";
import { tasks } from "./views/tasks.js";
import { timeline } from "./views/timeline.js";
import { wrong } from "./views/wrong.js";

/** @type {Record<import("./lib/router.js").Name, import("./lib/types.js").View<any>>} */
const VIEWS = { wrong, tasks, timeline, runs, run, now };

const RELOAD_MS = 1000; // at most so often is the server asked because something changed
const GAP_MS = 5000; // nor more often where so much happens that it is not told one by one
const RELOAD_FACTOR = 10; // and never more than a tenth of the time
const POLL_MS = 5000; // without being told of changes
const SHARED_MS = 15_000; // an answer that is shared by several pages may be so old
const CATCH_UP_MS = 3000;
const RESYNC_MS = 10_000; // quantiles and windows move on even if every single change is known

const top = h("header", { class: "top" });
const main = h("main", { id: "main" });
const notice = h("p", { class: "notice", role: "alert", hidden: true });

class Page {
  place = parse(location.hash);
  /** @type {import("./lib/live.js").Connection} */
  connection = "connecting";
  inFlight = 0;
  /** @type {any} */
  data = null;
  /** @type {AbortController | null} */
  #loading = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reload;
  #reloadAt = Infinity;
  #loadedAt = 0;
  #took = 0;
  #heardAt = -Infinity;
  live = new Live({
    changed: (change) => this.#changed(change),
    missed: () => this.#reloadIn(0),
    connection: (connection) => this.#connected(connection),
  });

  get view() {
    return VIEWS[this.place.name];
  }

  /** @returns {import("./lib/types.js").Context} */
  get context() {
    const { params, id } = this.place;
    return { params, id, since: sinceOf(params), go: (changes) => this.go(changes), reload: () => void this.load() };
  }

  /**
   * Change parameters of the address.
   * @param {Record<string, string | null>} changes
   */
  go(changes) {
    const { name, id, params } = this.place;
    const cursor = "cursor" in changes ? {} : { cursor: null }; // a page of other runs
    const next = address(name, { ...params, ...cursor, ...changes }, id);
    if (next === location.hash) return;
    history.replaceState(null, "", next);
    this.place = parse(next);
    this.frame();
    if (this.data !== null) this.render(); // what is only a matter of showing, at once
    void this.load();
  }

  /** Follow the address. */
  async arrive() {
    const before = this.place;
    this.place = parse(location.hash);
    this.frame();
    const isOther = before.name !== this.place.name || before.id !== this.place.id;
    const isOtherPage = isOther || before.params.cursor !== this.place.params.cursor;
    if (isOther) this.data = null;
    await this.load();
    if (isOtherPage) {
      scrollTo(0, 0);
      document.getElementById("title")?.focus({ preventScroll: true });
    }
  }

  /**
   * Ask the server for what the view shows.
   * @param {number} [again] after so long, if the answer may be older than what was heard since
   */
  async load(again = CATCH_UP_MS) {
    clearTimeout(this.#reload);
    this.#reloadAt = Infinity;
    this.#loading?.abort();
    const loading = (this.#loading = new AbortController());
    const started = performance.now();
    main.setAttribute("aria-busy", "true");
    main.classList.toggle("leaving", this.data === null); // what is shown is of another view
    try {
      const data = await this.view.load(this.context, loading.signal);
      if (loading.signal.aborted) return;
      this.data = data;
      top.classList.remove("closed");
      say("");
      this.render();
      this.live.start();
      if (this.#heardAt > performance.now() - SHARED_MS) this.#reloadIn(again);
    } catch (error) {
      if (loading.signal.aborted) return;
      this.#refused(error);
    }
    main.removeAttribute("aria-busy");
    main.classList.remove("leaving");
    this.#loadedAt = performance.now();
    this.#took = this.#loadedAt - started;
  }

  render() {
    const wanted = document.createDocumentFragment();
    append(wanted, this.view.render(this.data, this.context));
    morphChildren(main, wanted);
    const title = this.place.name === "run" && this.data?.run ? this.data.run.task : this.view.title;
    document.title = `${title} · Afterword`;
  }

  frame() {
    const { place, connection, inFlight } = this;
    const setSince = (/** @type {number} */ seconds) => this.go({ since: String(seconds) });
    const wanted = document.createDocumentFragment();
    append(wanted, header({ place, since: sinceOf(place.params), connection, inFlight, setSince }));
    morphChildren(top, wanted);
  }

  /** @param {import("./lib/types.js").Change} change */
  #changed(change) {
    heard(change.at);
    this.#heardAt = performance.now();
    if (this.inFlight !== change.pending + change.running) {
      this.inFlight = change.pending + change.running;
      this.frame();
    }
    if (this.data === null) return;
    const data = this.view.apply?.(this.data, change, this.context) ?? null;
    const isGap = change.ended_total > change.ended.length;
    if (data === null) this.#reloadIn(isGap ? GAP_MS * (1 + 0.5 * Math.random()) : RELOAD_MS); // pages not all at once
    else if (data !== this.data) {
      this.data = data;
      this.render();
      this.#reloadIn(RESYNC_MS);
    }
  }

  /**
   * Ask the server after a while, unless that is going to happen earlier anyhow.
   * @param {number} milliseconds
   */
  #reloadIn(milliseconds) {
    const rested = this.#loadedAt + RELOAD_FACTOR * this.#took - performance.now();
    const wait = Math.max(milliseconds, rested);
    const at = performance.now() + wait;
    if (at >= this.#reloadAt) return;
    clearTimeout(this.#reload);
    this.#reloadAt = at;
    this.#reload = setTimeout(() => (document.hidden ? (this.#reloadAt = Infinity) : void this.load(RESYNC_MS)), wait);
  }

  /** @param {import("./lib/live.js").Connection} connection */
  #connected(connection) {
    const before = this.connection;
    this.connection = connection;
    this.frame();
    if (connection === "disconnected" && before !== connection) announce("Disconnected");
    if (connection === "live" && before === "disconnected") announce("Connected again");
    if (connection === "disconnected") void this.#askWhy();
  }

  /** An event source does not say why it failed: the door may be closed, or something between may not let it. */
  async #askWhy() {
    const response = await fetch("api/session", { cache: "no-store" }).catch(() => null);
    if (response?.status === 401) void this.load();
    else if (response?.ok) this.#reloadIn(POLL_MS);
  }

  /** @param {unknown} error */
  #refused(error) {
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
      this.live.stop();
      this.data = null;
      const door = document.createDocumentFragment();
      append(door, login(error.message, error.wantsToken, () => void this.arrive()));
      main.replaceChildren(door);
      top.classList.add("closed");
      document.getElementById("token")?.focus();
      return;
    }
    if (error instanceof ApiError) say(error.message);
    else if (error instanceof TypeError && this.data === null) say("The server cannot be reached. The page tries again.");
    if (!(error instanceof ApiError || error instanceof TypeError)) throw error;
    this.live.start();
    if (!(error instanceof ApiError && error.status === 400)) this.#reloadIn(5000);
  }
}

/** @param {string} text */
function say(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

/** Take the token out of the address before anything else sees it, and trade it for a cookie. */
async function enter() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(null, "", "#/");
  await openSession(token).catch(() => null); // then the door says what is wrong
}

async function begin() {
  showTheme(theme());
  document.body.replaceChildren(h("a", { class: "skip", href: "#main", onclick: skip }, "Skip to the content"), top, notice, main, region(), paints());
  await enter();
  const page = new Page();
  page.frame();
  startTicking();
  addEventListener("hashchange", () => void (location.hash.includes("token=") ? enter().then(() => page.arrive()) : page.arrive()));
  await page.load();
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault(); // the fragment is the address of a view
  document.getElementById("title")?.focus();
}

void begin();
