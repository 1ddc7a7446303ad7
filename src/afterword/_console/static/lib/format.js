/** How values look. Times are the browser's local ones. */

const COUNT = new Intl.NumberFormat("en");
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** @param {number} value */
export function count(value) {
  return COUNT.format(value);
}

/**
 * A number of things: "1 task", "2 tasks".
 * @param {number} value
 * @param {string} one
 * @param {string} [many]
 */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/**
 * A share, which is never rounded to nothing or to all.
 * @param {number} value from 0 to 1
 */
export function percent(value) {
  if (value === 0) return "0\u00a0%";
  if (value < 0.001) return "<\u00a00.1\u00a0%";
  if (value > 0.999 && value < 1) return ">\u00a099.9\u00a0%";
  return `${(value * 100).toFixed(value < 0.1 ? 1 : 0)}\u00a0%`;
}

/** @param {number} perMinute */
export function rate(perMinute) {
  if (perMinute === 0) return "0";
  if (perMinute < 0.1) return "< 0.1";
  return perMinute < 10 ? perMinute.toFixed(1) : COUNT.format(Math.round(perMinute));
}

/**
 * A length of time with the unit that suits it.
 * @param {number | null | undefined} seconds
 */
export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
  if (seconds === 0) return "0";
  if (seconds < 0.001) return `${Math.max(1, Math.round(seconds * 1e6))}\u00a0µs`;
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)}\u00a0ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)}\u00a0ms`;
  if (seconds < 10) return `${seconds.toFixed(2)}\u00a0s`;
  if (seconds < 60) return `${seconds.toFixed(1)}\u00a0s`;
  return long(seconds);
}

/**
 * An age, in whole seconds: it ticks.
 * @param {number} seconds
 */
export function age(seconds) {
  return seconds < 60 ? `${Math.max(0, Math.floor(seconds))}\u00a0s` : long(seconds);
}

/** @param {number} seconds */
function long(seconds) {
  const whole = Math.floor(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}\u00a0min ${whole % 60}\u00a0s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}\u00a0h ${minutes % 60}\u00a0min`;
  return `${Math.floor(hours / 24)}\u00a0d ${hours % 24}\u00a0h`;
}

/**
 * How long ago: "12 s ago".
 * @param {number} seconds
 */
export function ago(seconds) {
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/**
 * A point in time: "09:12:03", with the day if it is another one.
 * @param {number} at in milliseconds
 * @param {number} now
 */
export function moment(at, now) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "?";
  const time = TIME.format(date);
  return date.toDateString() === new Date(now).toDateString() ? time : `${DAY.format(date)} ${time}`;
}

/**
 * A point in time to the millisecond, with the day.
 * @param {string} iso
 */
export function precise(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${DAY.format(date)} ${date.getFullYear()}, ${TIME.format(date)}.${milliseconds}`;
}

/**
 * The window that is looked at: "the last hour".
 * @param {number} seconds
 */
export function lately(seconds) {
  if (seconds === 3600) return "the last hour";
  if (seconds === 86_400) return "the last day";
  if (seconds % 86_400 === 0) return `the last ${seconds / 86_400} days`;
  if (seconds % 3600 === 0) return `the last ${seconds / 3600} hours`;
  if (seconds % 60 === 0) return seconds === 60 ? "the last minute" : `the last ${seconds / 60} minutes`;
  return `the last ${COUNT.format(seconds)} seconds`;
}

/**
 * The request of a run: "POST /orders/{number}".
 * @param {{http_method?: string, http_route?: string}} of
 */
export function request(of) {
  return [of.http_method, of.http_route].filter(Boolean).join(" ");
}

/**
 * The beginning of an id: enough to find it again.
 * @param {string} id
 */
export function short(id) {
  return id.slice(0, 12);
}

/**
 * Milliseconds since the epoch; NaN if there is no such time.
 * @param {string | undefined} iso
 */
export function millis(iso) {
  return iso === undefined ? NaN : Date.parse(iso);
}
