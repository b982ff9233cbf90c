/** What a metric is, whoever draws it: boards, docs/metrics.md, alert thresholds and the cross-check are made of this. */

/** Who asks the question that a metric answers. */
export type Audience = 'customers' | 'business' | 'engineering' | 'pipeline' | 'incident';

/** When a value is fine, worth a look, or bad. The limits are values at which the better state ends. */
export interface Objective {
  /** Whether more is better. */
  better: 'higher' | 'lower';
  /** From here on the value is worth a look. */
  amber: number;
  /** From here on it is bad. */
  red: number;
}

/** One metric, with every way in which it is asked. */
export interface Metric {
  id: string;
  title: string;
  audience: Audience;
  /** The team that acts on it. */
  owner: string;
  /** By Grafana's name of the unit. */
  unit: string;
  decimals?: number;
  /** The formula in words. */
  definition: string;
  /** Where its numbers come from. */
  source: string;
  /** What it does not say. */
  caveat: string;
  /** What to do when it is red; for a metric without an objective, when it is odd. */
  ifRed: string;
  objective?: Objective;
  /** One row for the whole time range, from ClickHouse. */
  sql?: string;
  /** One sample for the whole time range, from Mimir. */
  promql?: string;
  /** By how much the two may differ, as a share of the value, and why. */
  difference?: { share: number; why: string };
}
