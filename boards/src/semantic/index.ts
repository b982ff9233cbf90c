import { BUSINESS } from './business.ts';
import { CUSTOMERS } from './customers.ts';
import { ENGINEERING } from './engineering.ts';
import { INCIDENT } from './incident.ts';
import { PIPELINE_METRICS } from './pipeline.ts';
import type { Metric } from './types.ts';

/** Metrics that every line has. */
export const METRICS_OF_EVERY_LINE: Metric[] = [...CUSTOMERS, ...BUSINESS, ...ENGINEERING, ...PIPELINE_METRICS];

/** All metrics, in the order in which documents name them. */
export const METRICS: Metric[] = [...METRICS_OF_EVERY_LINE, ...INCIDENT];

/** The metric of that id. */
export function metric(id: string): Metric {
  const found = METRICS.find((candidate) => candidate.id === id);
  if (!found) {
    throw new Error(`there is no metric "${id}"; the ids are ${METRICS.map((each) => each.id).join(', ')}`);
  }
  return found;
}
