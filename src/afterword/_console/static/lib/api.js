/** Asks the server. All addresses are relative to the page, so it works below any path. */

/** What the server refused, in its own words. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {boolean} wantsToken whether a token would open the door
   */
  constructor(status, message, wantsToken) {
    super(message);
    this.status = status;
    this.wantsToken = wantsToken;
  }
}

/**
 * Ask for JSON below `api/`.
 * @param {string} path
 * @param {Record<string, string | number | null | undefined>} [params] empty ones are left out
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function ask(path, params = {}, signal) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(key, String(value));
  }
  const text = query.toString();
  const response = await fetch(`api/${path}${text && `?${text}`}`, { signal: signal ?? null, cache: "no-store" });
  if (!response.ok) throw await refusal(response);
  return await response.json();
}

/**
 * Exchange a token for a cookie.
 * @param {string} token
 */
export async function openSession(token) {
  const headers = { authorization: `Bearer ${token}` };
  let response;
  try {
    response = await fetch("api/session", { headers, cache: "no-store" });
  } catch (error) {
    if (error instanceof TypeError && /header|bytestring/i.test(error.message)) {
      throw new ApiError(401, "This is no token: it has characters that none has.", true);
    }
    throw error;
  }
  if (!response.ok) throw await refusal(response);
}

/** @param {Response} response */
async function refusal(response) {
  let message = `The server answered ${response.status} ${response.statusText}`.trimEnd();
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) message = error;
  } catch {
    // not JSON, perhaps from a proxy: the status has to do
  }
  const wantsToken = response.status === 401 && response.headers.has("www-authenticate");
  return new ApiError(response.status, message, wantsToken);
}
