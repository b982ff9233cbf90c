/** Asks the stores for the metrics of the semantic layer, and compares with what was calculated. */
import { METRICS_OF_EVERY_LINE } from '../../src/semantic/index.ts';
import type { Metric } from '../../src/semantic/types.ts';
import { runTarget, type QueryContext, type Target } from '../../preview/query/index.ts';
import type { Numbers } from './calculator.ts';

/** The ways in which a metric is asked. */
export type Language = 'sql' | 'promql';

/** How far a number may be from the calculated one, and why; one that is not named has to be equal. */
interface Tolerance {
  /** Of the value. */
  share?: number;
  /** In the metric's unit. */
  amount?: number;
  why: string;
}

/** Metrics whose value depends on when it is asked, or on what two programs have told at one moment. */
const TOLERANCES: Partial<Record<string, Tolerance>> = {
  complete_until: { amount: 45_000, why: 'its samples are thirty seconds apart, and the last of them counts' },
  completeness: { share: 0.05, why: 'edge and hub push at different moments of a second' },
  throughput: { share: 0.002, why: 'in SQL a range has whole seconds' },
  burn_rate: { share: 0.05, why: 'a rate over five minutes is drawn out to the ends of the window' },
};

/** What doubles keep of a sum of prices and of a ratio. */
const ROUNDING = 1e-9;
/** What PromQL may add: `increase` draws each series out by a part of a second of the hub's push. */
const DRAWN_OUT = 0.02;

/** The metric that is an age: what it is the age of came between two moments, in seconds since the epoch, that are calculated. */
const AGE = 'newest_row';
/** In which times are told. */
const SECOND = 1;

/** A number that is not what it has to be. */
export interface Disagreement {
  metric: string;
  language: Language;
  found: number | undefined;
  expected: number | undefined;
}

/** Every metric in every language that it has. */
export function questions(
  metrics: Metric[] = METRICS_OF_EVERY_LINE,
): { metric: Metric; language: Language; text: string }[] {
  return metrics.flatMap((metric) =>
    (['sql', 'promql'] as const).flatMap((language) => {
      const text = metric[language];
      return text === undefined ? [] : [{ metric, language, text }];
    }),
  );
}

/** The columns of an answer that has one row. */
export async function ask(
  language: Language,
  text: string,
  context: QueryContext,
): Promise<Map<string, number | undefined>> {
  const target: Target =
    language === 'sql'
      ? {
          refId: 'A',
          datasource: { type: 'grafana-clickhouse-datasource', uid: 'clickhouse' },
          rawSql: text,
          format: 1,
        }
      : { refId: 'A', datasource: { type: 'prometheus', uid: 'mimir' }, expr: text, instant: true };
  const frames = await runTarget(target, context, { title: text.slice(0, 60) });
  const fields = frames.flatMap((frame) => frame.fields.filter(({ type }) => (type as string) === 'number'));
  return new Map(
    fields.map(({ name, values }) => {
      const last = values[values.length - 1] as number | null | undefined;
      return [name, last === null || last === undefined || Number.isNaN(last) ? undefined : last];
    }),
  );
}

/**
 * Compares a metric's answer with what was calculated, every column of it.
 *
 * @param text the query, which a mutation has changed
 */
export async function disagreements(
  metric: Metric,
  language: Language,
  text: string,
  numbers: Numbers,
  context: QueryContext,
): Promise<Disagreement[]> {
  const asked = Date.now() / 1000;
  const answer = await ask(language, text, context);
  const answered = Date.now() / 1000;
  const names = [...answer.keys()];
  const of = (name: string | undefined) => (name === undefined ? undefined : answer.get(name));
  const found: [string, number | undefined][] = [[metric.id, of(names[0])]];
  for (const bound of ['low', 'high'].filter((name) => answer.has(name))) {
    found.push([`${metric.id}_${bound}`, of(bound)]);
  }
  const age = found[0]?.[1];
  if (metric.id === AGE && age !== undefined) {
    const { [AGE]: since = NaN, [`${AGE}_latest`]: latest = NaN } = numbers;
    const isRight = asked - age <= latest + SECOND && answered - age >= since - SECOND;
    return isRight ? [] : [{ metric: AGE, language, found: age, expected: answered - latest }];
  }
  return found
    .map(([id, value]) => ({ metric: id, language, found: value, expected: numbers[id] }))
    .filter((each) => !agrees(each, metric.id));
}

function agrees({ found, expected, language }: Disagreement, metric: string): boolean {
  if (found === undefined || expected === undefined) {
    return found === expected;
  }
  const { share = 0, amount = 0 } = TOLERANCES[metric] ?? {};
  const drawnOut = language === 'promql' ? DRAWN_OUT : 0;
  return (
    Math.abs(found - expected) <= Math.max(Math.abs(expected) * Math.max(share, drawnOut, ROUNDING), amount, ROUNDING)
  );
}

/** Whether the two languages say the same of a metric, within what it states that they may differ. */
export function isWithinDifference(
  sql: number | undefined,
  promql: number | undefined,
  { difference }: Metric,
): boolean {
  if (sql === undefined || promql === undefined) {
    return sql === promql;
  }
  return Math.abs(sql - promql) <= Math.abs(sql) * (difference?.share ?? 0) + ROUNDING;
}
