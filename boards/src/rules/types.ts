/** Rules in Prometheus' form, and what every alert of ours has to say. */

/** Who hears of it: a page wakes somebody, a ticket waits for the morning, the watchdog proves that both arrive. */
export type Severity = 'page' | 'ticket' | 'watchdog';

/** An alert before its links are worked out. */
export interface Alert {
  name: string;
  /** PromQL; its series are what fires. */
  expression: string;
  /** How long it has to hold. */
  holds?: string;
  severity: Severity;
  /** The team that acts. */
  owner: string;
  /** One line, with the labels of the series. */
  summary: string;
  /** What it means and what happens if nobody acts. */
  description: string;
  /** The panel that shows it: a board's uid and the panel's title. */
  panel: [board: string, title: string];
}

/** A series that is worked out at every evaluation. */
export interface Recording {
  record: string;
  expression: string;
}

/** What is evaluated together, in this order. */
export interface Group {
  name: string;
  recordings: Recording[];
  alerts: Alert[];
}
