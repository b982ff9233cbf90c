import { BUSINESS } from './business.ts';
import { CUSTOMERS } from './customers.ts';
import { ENGINEERING } from './engineering.ts';
import { PIPELINE_METRICS } from './pipeline.ts';
import type { Metric } from './types.ts';

/** All metrics, in the order in which documents name them. */
export const METRICS: Metric[] = [...CUSTOMERS, ...BUSINESS, ...ENGINEERING, ...PIPELINE_METRICS];

/** The metric of that id. */
export function metric(id: string): Metric {
  const found = METRICS.find((candidate) => candidate.id === id);
  if (!found) {
    throw new Error(`there is no metric "${id}"; the ids are ${METRICS.map((each) => each.id).join(', ')}`);
  }
  return found;
}
