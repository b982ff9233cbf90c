/**
 * How queries reach a store, so that a page, a test against real servers and a test with made-up answers use the same code.
 */

/** A way to fetch, what addresses are relative to, and what ends a request early. */
export interface Http {
  fetch: typeof globalThis.fetch;
  /** Base of relative addresses; only a page needs it. */
  base?: string;
  signal?: AbortSignal;
}

/** An answer of a query that went wrong, with the place in the dashboard where it was asked. */
export class QueryError extends Error {
  constructor(
    readonly panel: string,
    readonly refId: string,
    /** What was sent, variables and macros expanded; empty when it never came so far. */
    readonly sent: string,
    override readonly cause: unknown,
  ) {
    super(`${panel}, query ${refId}: ${cause instanceof Error ? cause.message : String(cause)}`);
    this.name = 'QueryError';
  }
}
