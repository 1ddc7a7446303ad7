/**
 * What the JSON API answers, and what a view is. Types only; `tsc --checkJs` reads them.
 *
 * @typedef {"succeeded" | "failed" | "cancelled" | "skipped" | "dropped" | "abandoned" | "lost"} Ending
 * @typedef {Ending | "returned" | "pending" | "running"} State "returned" is an attempt that did not end its task
 * @typedef {Partial<Record<State, number>>} Counts
 *
 * @typedef {object} Run
 * @property {string} task_run
 * @property {string} task
 * @property {"starlette" | "celery"} [engine] what runs it
 * @property {number} [attempt] which one of Celery's it is, from 1
 * @property {string} [worker] the name of Celery's worker
 * @property {string} [queue] the queue that Celery had it from
 * @property {Ending | "returned"} [outcome] how it ended; none while it is in flight
 * @property {State} [state] of one in flight; what a lost one was doing
 * @property {boolean} [alive] whether the process of one in flight lives
 * @property {string} [reason]
 * @property {string} [stopped_by] the task that failed before a skipped one
 * @property {string} [detail]
 * @property {string} [error_type]
 * @property {string} [error]
 * @property {string} [traceback]
 * @property {string} [http_method]
 * @property {string} [http_route]
 * @property {string} [request_id]
 * @property {string} scheduled_at
 * @property {string} [started_at]
 * @property {string} [ended_at]
 * @property {number} [wait_s]
 * @property {number} [thread_wait_s]
 * @property {number} [duration_s]
 * @property {number} [age_s]
 * @property {string} [trace_id]
 * @property {string} [span_id]
 * @property {string} [parent_trace_id]
 * @property {string} [parent_span_id]
 * @property {string} [function]
 * @property {number} [pid]
 * @property {string} [process]
 * @property {boolean} [recovered]
 *
 * @typedef {object} Cause
 * @property {number} count
 * @property {string} task
 * @property {"starlette" | "celery"} [engine] what runs it
 * @property {Ending | "returned"} outcome
 * @property {string} [reason]
 * @property {string} [http_method]
 * @property {string} [http_route]
 * @property {string} [error_type]
 * @property {string} first_at
 * @property {string} last_at
 * @property {string} example the id of the newest run of this cause
 * @property {string} detail what happened; what to do
 *
 * @typedef {{name: string, state: "good" | "bad" | "unknown", detail: string}} Check
 * @typedef {{kind: "journal" | "memory", detail: string, oldest_at?: string}} Source
 * @typedef {{pid?: number, process: string, alive?: boolean, in_flight: number}} ProcessSummary
 *
 * @typedef {object} Summary
 * @property {string} now
 * @property {number} since_s
 * @property {Source} source
 * @property {Counts} outcomes
 * @property {boolean} [truncated] whether more have ended than are looked at
 * @property {number} pending
 * @property {number} running
 * @property {Cause[]} causes
 * @property {number} causes_total
 * @property {Check[]} checks
 * @property {ProcessSummary[]} processes
 *
 * @typedef {{p50?: number | null, p95?: number | null}} Quantiles
 * @typedef {{at: string, counts: Counts}} Bucket
 *
 * @typedef {object} Task
 * @property {string} task
 * @property {"starlette" | "celery"} [engine] what runs it
 * @property {Counts} counts
 * @property {number} total
 * @property {number} per_minute
 * @property {number | null} [failure_ratio]
 * @property {Quantiles} [wait_s]
 * @property {Quantiles} [thread_wait_s]
 * @property {Quantiles} [duration_s]
 * @property {Bucket[]} history
 *
 * @typedef {object} RequestRuns
 * @property {string} [http_method]
 * @property {string} [http_route]
 * @property {string} [request_id]
 * @property {string} [trace_id]
 * @property {string} [began_at]
 * @property {string} [answered_at]
 * @property {boolean} [answered_at_derived] whether that is when its first run began, the latest that it can have been
 * @property {string} first_at
 * @property {string} last_at
 * @property {Run[]} runs the first ones
 * @property {number} [total] how many there are
 *
 * @typedef {{pid?: number, process: string, alive?: boolean, seen_at?: string, runs: Run[]}} ProcessNow
 *
 * @typedef {object} Change
 * @property {string} at
 * @property {Run[]} ended the newest of those that have ended
 * @property {number} ended_total how many have
 * @property {number} pending
 * @property {number} running
 *
 * @typedef {Record<string, string>} Params
 *
 * @typedef {object} Context
 * @property {Params} params what stands behind the ? of the address
 * @property {string} id of a run
 * @property {number} since how many seconds back
 * @property {(changes: Record<string, string | null>) => void} go change parameters; null removes one
 * @property {() => void} reload ask the server again
 */

/**
 * A view is two or three pure functions; the page does the rest.
 *
 * @template T
 * @typedef {object} View
 * @property {string} title
 * @property {(context: Context, signal: AbortSignal) => Promise<T>} load
 * @property {(data: T, context: Context) => import("./dom.js").Child} render
 * @property {(data: T, change: Change, context: Context) => T | null} [apply] what is shown after runs have ended;
 *   null if the server must be asked
 */

export {};
