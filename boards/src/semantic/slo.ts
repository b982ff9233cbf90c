/** The objectives that panels, recording rules and alerts share. */

/** Of answered menu lists, the share that must not be a failure of ours. */
export const AVAILABILITY = 0.999;

/** Of good answers, the share that must come within {@link LATENCY_SECONDS}. */
export const LATENCY = 0.99;

/** A bound of the histogram's buckets. */
export const LATENCY_SECONDS = 0.1;

/** Days over which the error budget is counted. */
export const BUDGET_DAYS = 30;

/** Burn rates that page or file a ticket: the long window shows that it matters, the short one that it still goes on. */
export const BURN = {
  fast: { factor: 14.4, long: '1h', short: '5m' },
  slow: { factor: 6, long: '6h', short: '30m' },
} as const;

/** Bounds of `menu_request_duration_seconds` and `span_duration_seconds`, in seconds. */
export const BUCKETS = [
  0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
  5, 10,
];

/** Pipeline limits: from the promise that data is queryable within seconds, and from what an operator can still mend. */
export const PIPELINE = {
  lagSecondsAmber: 15,
  lagSecondsRed: 60,
  drainSecondsRed: 1800,
  spoolSecondsToFullRed: 7200,
  headRoomShareRed: 0.25,
  /** Fewer answered lists in a minute than this say nothing about a ratio. */
  smallestMinute: 20,
} as const;

/** Of paid orders that should be at a restaurant, the share that its tablet must acknowledge within {@link ORDERS.confirmSeconds}. */
export const CONFIRMATION = 0.999;

/** Limits of the order flow (docs/orders.md). */
export const ORDERS = {
  /** T: from the capture to the tablet's acknowledgement. The reconciler decides by it. */
  confirmSeconds: 120,
  /** An order that is paid and unconfirmed for longer wakes somebody, however many others arrive. */
  oldestSecondsRed: 180,
  /** A synthetic order is placed every minute. */
  canarySecondsRed: 180,
  /** The reconciler pushes every five seconds. */
  reconcilerSecondsRed: 120,
  /** Up to when events are complete: what is later is not judged yet. */
  watermarkSecondsRed: 180,
  /** Charges a second below which the absence of confirmations is no evidence. */
  severedChargesPerSecond: 0.05,
  /** Fewer unconfirmed orders than this say nothing about a ratio. */
  fewestOrders: 3,
  /** Records that ledgers may differ by, as they are read at different moments; beside it, as a share of all. */
  ledgerTolerance: 5,
  ledgerShare: 0.005,
  /** An order waits in the dead letters for no longer than this. */
  deadLetterSecondsRed: 300,
} as const;
