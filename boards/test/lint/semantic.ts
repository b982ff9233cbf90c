/** Rules that hold a panel to the semantic layer: what it says, its unit, and the values at which it changes colour. */
import { BURN, LATENCY_SECONDS, ORDERS, PIPELINE } from '../../src/semantic/slo.ts';
import { METRICS } from '../../src/semantic/index.ts';
import type { Metric, Objective } from '../../src/semantic/types.ts';
import type { Panel } from '../../preview/query/index.ts';
import { promqlOf, shownPanels, sqlOf, type Rule } from './finding.ts';

/** Lines that a time series draws at limits of the semantic layer, by the panel's title. */
const LINES: Record<string, number[]> = {
  'Lag in seconds': [PIPELINE.lagSecondsAmber, PIPELINE.lagSecondsRed],
  'Time to drain': [PIPELINE.drainSecondsRed / 2, PIPELINE.drainSecondsRed],
  'Time of good answers': [LATENCY_SECONDS],
  'Burn rate': [BURN.slow.factor, BURN.fast.factor],
  'Burn rate of confirmation': [BURN.slow.factor, BURN.fast.factor],
  'Oldest unconfirmed order': [ORDERS.confirmSeconds, ORDERS.oldestSecondsRed],
  'Since the last synthetic order': [ORDERS.confirmSeconds, ORDERS.canarySecondsRed],
  Reconciler: [ORDERS.reconcilerSecondsRed, ORDERS.watermarkSecondsRed],
};

interface Step {
  value: number | null;
  color: string;
}

export const SEMANTIC: Record<string, Rule> = {
  meaning: (board, report) => {
    for (const panel of shownPanels(board)) {
      const of = metricOf(panel);
      const said = panel.description ?? '';
      if (of && !(panel.title === of.title && said.includes(of.definition) && said.includes(of.caveat))) {
        report(panel, `it asks for the metric "${of.id}" and says something else of it`);
      }
      if (of && panel.fieldConfig?.defaults.unit !== of.unit) {
        report(panel, `the metric "${of.id}" has the unit ${of.unit}`);
      }
    }
  },
  thresholds: (board, report) => {
    for (const panel of shownPanels(board)) {
      const steps = stepsOf(panel);
      const found = limitsOf(steps);
      const wanted = wantedLimits(panel);
      if (found.join() !== wanted.join()) {
        report(panel, `it changes colour at [${found.join(', ')}], by the semantic layer at [${wanted.join(', ')}]`);
      } else if (!isColoured(metricOf(panel)?.objective, steps)) {
        report(panel, 'its colours are on the wrong side of the objective');
      }
    }
  },
};

/** The metric that a panel asks for: its only query is one of the metric's. */
export function metricOf(panel: Panel): Metric | undefined {
  const [target, ...others] = panel.targets ?? [];
  if (!target || others.length > 0) {
    return undefined;
  }
  const text = sqlOf(target) ?? promqlOf(target);
  return METRICS.find(({ sql, promql }) => text === sql || text === promql);
}

/** The steps by which a panel is coloured; of an estimate those of its middle value. */
function stepsOf(panel: Panel): Step[] {
  const properties = (panel.fieldConfig?.overrides ?? []).flatMap((override) => override.properties);
  const override = properties.find(({ id }) => id === 'thresholds')?.value as { steps: Step[] } | undefined;
  const defaults = panel.fieldConfig?.defaults.thresholds as unknown as { steps: Step[] } | undefined;
  return override?.steps ?? defaults?.steps ?? [];
}

const limitsOf = (steps: Step[]): number[] => steps.flatMap(({ value }) => (value === null ? [] : [value]));

function wantedLimits(panel: Panel): number[] {
  const objective = metricOf(panel)?.objective;
  if (objective) {
    return [...new Set([objective.amber, objective.red])].sort((a, b) => a - b);
  }
  // A scale of states changes colour at each state that has a name.
  if (panel.type === 'state-timeline') {
    const names = (panel.fieldConfig?.defaults.mappings ?? []).flatMap(({ options }) => Object.keys(options));
    return names.map(Number).filter((state) => state > 0);
  }
  return LINES[panel.title ?? ''] ?? [];
}

/** Of a metric with an objective, the colour of the good side is none that the bad side has, and it is on the right one. */
function isColoured(objective: Objective | undefined, steps: Step[]): boolean {
  const [first, last] = [steps[0]?.color, steps[steps.length - 1]?.color];
  if (!objective || !first || !last) {
    return true;
  }
  const [good, bad] = objective.better === 'lower' ? [first, last] : [last, first];
  return isGreenish(good) && !isGreenish(bad);
}

/** More green than red, by the colour's own numbers. */
function isGreenish(color: string): boolean {
  const [red = 0, green = 0] = [1, 3].map((at) => parseInt(color.slice(at, at + 2), 16));
  return green > red;
}
