/**
 * Runs the queries of a panel: variables in, macros out, answer to frames.
 */
import type { DataFrame } from '@grafana/data';
import { queryClickHouse, shapeForFormat, type ClickHouseSource } from './clickhouse.ts';
import {
  builtInLookup,
  fixedLookup,
  sourceOf,
  standsForAll,
  variableLookup,
  type QueryContext,
  type Source,
} from './context.ts';
import { QueryError } from './http.ts';
import { firstOf, interpolate, type Formatter } from './interpolate.ts';
import { expandConditionalAll, expandMacros } from './macros.ts';
import { targetsOf, type Panel, type PanelFrames, type Target } from './model.ts';
import {
  queryExemplars,
  queryPrometheus,
  stepNames,
  stepsOf,
  type PrometheusQuery,
  type PrometheusSource,
} from './prometheus.ts';
import { formatDuration, intervalOf, parseDuration, parseTime, type Range } from './time.ts';

/** A query as it will be sent. */
export type Prepared =
  | { language: 'sql'; source: ClickHouseSource; text: string; format: number }
  | { language: 'promql'; source: PrometheusSource; text: string; query: PrometheusQuery; interval: number };

/** What a panel's queries gave. A query that failed does not take the others with it. */
export interface PanelResult extends PanelFrames {
  errors: QueryError[];
}

/** What is known of the panel that a target stands in; it sets the interval. */
export type PanelFacts = Partial<
  Pick<Panel, 'id' | 'title' | 'interval' | 'maxDataPoints' | 'datasource' | 'timeFrom' | 'timeShift' | 'targets'>
>;

/**
 * Puts variables and macros in, without asking a store: for tests that only parse or explain a query.
 *
 * @throws Error for an unknown data source or a macro that is written wrongly
 */
export function prepareTarget(target: Target, context: QueryContext, panel: PanelFacts = {}): Prepared {
  const source = sourceOf(target.datasource ?? panel.datasource, context);
  const range = rangeOf(panel, context.range);
  return source.type === 'prometheus'
    ? preparePromql(target, source, { ...context, range }, panel)
    : prepareSql(target, source, { ...context, range }, panel);
}

/**
 * Runs one target.
 *
 * @returns frames as Grafana's data source would give them; empty when there is no data
 * @throws QueryError that names panel and query
 */
export async function runTarget(target: Target, context: QueryContext, panel: PanelFacts = {}): Promise<DataFrame[]> {
  const name = panelName(panel);
  let prepared: Prepared | undefined;
  try {
    prepared = prepareTarget(target, context, panel);
    if (prepared.text.trim() === '') {
      return [];
    }
    return await send(prepared, target.refId, { ...context, range: rangeOf(panel, context.range) });
  } catch (cause) {
    throw new QueryError(name, target.refId, prepared?.text ?? '', cause);
  }
}

/** Runs every target of a panel, side by side. */
export async function runPanel(panel: Panel, context: QueryContext): Promise<PanelResult> {
  const targets = targetsOf(panel);
  const outcomes = await Promise.all(targets.map((target) => settle(runTarget(target, context, panel))));
  const exemplars = await Promise.all(targets.map((target) => exemplarsOf(target, context, panel)));
  return {
    series: nameTableValues(
      outcomes.flatMap(({ frames }) => frames),
      targets,
    ),
    exemplars: exemplars.flat(),
    errors: outcomes.flatMap(({ error }) => (error ? [error] : [])),
  };
}

/** The range of a panel that overrides the dashboard's (`timeFrom`, `timeShift`). */
export function rangeOf(panel: PanelFacts, range: Range): Range {
  let { from, to } = range;
  let raw = range.raw;
  if (panel.timeFrom) {
    from = parseTime(`now-${panel.timeFrom}`, to);
    raw = { from: `now-${panel.timeFrom}`, to: 'now' };
  }
  const shift = panel.timeShift ? (parseDuration(panel.timeShift) ?? 0) : 0;
  return { from: from - shift, to: to - shift, raw };
}

/** How a panel is named in messages. */
export function panelName(panel: PanelFacts): string {
  if (panel.id === undefined) {
    return panel.title ?? 'query';
  }
  return panel.title ? `panel ${panel.id} "${panel.title}"` : `panel ${panel.id}`;
}

function preparePromql(target: Target, source: PrometheusSource, context: QueryContext, panel: PanelFacts): Prepared {
  const points = panel.maxDataPoints ?? context.maxDataPoints ?? 1000;
  const minimum = (target['interval'] as string | undefined) || panel.interval;
  const steps = stepsOf(
    context.range,
    points,
    source,
    minimum ? interpolate(minimum, variableLookup(context.variables)) : undefined,
  );
  const lookup = firstOf(fixedLookup(stepNames(steps)), builtInLookup(context), variableLookup(context.variables));
  const text = interpolate(String(target['expr'] ?? ''), lookup, quoteForPromql);
  const query: PrometheusQuery = {
    refId: target.refId,
    expr: text,
    instant: target['instant'] as boolean | undefined,
    range: target['range'] as boolean | undefined,
    format: target['format'] as string | undefined,
    legendFormat: interpolate(
      String(target['legendFormat'] ?? ''),
      firstOf(builtInLookup(context), variableLookup(context.variables)),
      'text',
    ),
    exemplar: target['exemplar'] as boolean | undefined,
  };
  return { language: 'promql', source, text, query, interval: steps.interval };
}

function prepareSql(target: Target, source: ClickHouseSource, context: QueryContext, panel: PanelFacts): Prepared {
  const points = panel.maxDataPoints ?? context.maxDataPoints ?? 1000;
  const interval = intervalOf(context.range, points, (panel.interval ? parseDuration(panel.interval) : undefined) ?? 1);
  const steps = { __interval: formatDuration(interval), __interval_ms: String(interval) };
  const lookup = firstOf(fixedLookup(steps), builtInLookup(context), variableLookup(context.variables));
  const isAll = (name: string) => {
    const variable = context.variables.get(name);
    return variable && standsForAll(variable);
  };
  const filtered = expandConditionalAll(String(target['rawSql'] ?? ''), isAll);
  const withValues = interpolate(filtered, lookup, quoteForSql);
  const text = expandMacros(withValues, { from: context.range.from, to: context.range.to, interval });
  return { language: 'sql', source, text, format: formatOf(target) };
}

/** The plugin's `format`; a query without one is a table unless its `queryType` says otherwise. */
function formatOf(target: Target): number {
  if (typeof target['format'] === 'number') {
    return target['format'];
  }
  const byType: Record<string, number> = { timeseries: 0, table: 1, logs: 2, traces: 3 };
  return byType[String(target['queryType'] ?? 'table')] ?? 1;
}

async function send(prepared: Prepared, refId: string, context: QueryContext): Promise<DataFrame[]> {
  if (prepared.language === 'promql') {
    return queryPrometheus(prepared.source, prepared.query, context.range, prepared.interval, context.http);
  }
  const data = await queryClickHouse(prepared.source, prepared.text, refId, context.http);
  return data.fields.length === 0 ? [] : [shapeForFormat(data, prepared.format)];
}

async function settle(running: Promise<DataFrame[]>): Promise<{ frames: DataFrame[]; error?: QueryError }> {
  try {
    return { frames: await running };
  } catch (error) {
    if (error instanceof QueryError) {
      return { frames: [], error };
    }
    throw error;
  }
}

/** Exemplars are an addition: where they cannot be had, the series are drawn without. */
async function exemplarsOf(target: Target, context: QueryContext, panel: Panel): Promise<DataFrame[]> {
  if (!target['exemplar']) {
    return [];
  }
  try {
    const prepared = prepareTarget(target, context, panel);
    return prepared.language === 'promql'
      ? await queryExemplars(prepared.source, prepared.query, context.range, context.http)
      : [];
  } catch {
    return [];
  }
}

/** With several table queries the value columns are told apart by the query, as Grafana names them: `Value #A`. */
function nameTableValues(frames: DataFrame[], targets: Target[]): DataFrame[] {
  const tables = targets.filter((target) => target['expr'] !== undefined && target['format'] === 'table');
  if (tables.length < 2) {
    return frames;
  }
  return frames.map((each) => {
    if (!tables.some((target) => target.refId === each.refId)) {
      return each;
    }
    return {
      ...each,
      fields: each.fields.map((column) =>
        column.name === 'Value' ? { ...column, name: `Value #${each.refId}` } : column,
      ),
    };
  });
}

/** Several values become one alternative each; what a regular expression or a quoted string would read is escaped. */
export const quoteForPromql: Formatter = (value, { multi }) => {
  if (!multi && !Array.isArray(value)) {
    return String(value).replace(/\\/g, '\\\\').replace(/"/g, '\\"');
  }
  const list = (Array.isArray(value) ? value : [value]).map((each) =>
    String(each)
      .replace(/\\/g, '\\\\\\\\')
      .replace(/"/g, '\\"')
      .replace(/[$^*{}[\]'+?.()|]/g, '\\\\$&'),
  );
  return list.length === 1 ? (list[0] ?? '') : `(${list.join('|')})`;
};

/** The plugin puts several values in quotes and leaves a single one bare. It does not escape; formats do. */
const quoteForSql: Formatter = (value) => (Array.isArray(value) ? `'${value.join("','")}'` : String(value));

/** Tells sources of a type apart from others, for the choices of a data source variable. */
export function sourcesOfType(sources: Source[], type: string): Source[] {
  return sources.filter((source) => source.type === type);
}
