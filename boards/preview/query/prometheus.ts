/**
 * Asks Mimir (or any Prometheus) and makes frames as Grafana's Prometheus data source does.
 */
import type { DataFrame, Labels } from '@grafana/data';
import { bucketFrames } from './buckets.ts';
import { field, frame } from './frames.ts';
import type { Http } from './http.ts';
import { formatDuration, intervalOf, parseDuration, type Range } from './time.ts';

/** Where Mimir is, and as whom it is asked. */
export interface PrometheusSource {
  type: 'prometheus';
  uid: string;
  name: string;
  /** Base address of the API, without `/api/v1`: `http://127.0.0.1:9009/prometheus`. */
  url: string;
  tenant?: string;
  /** How often series get a sample, in milliseconds; `$__rate_interval` is four of them at least. Default 15 s. */
  scrapeInterval?: number;
  /** Where an exemplar's label leads, as a data source of Grafana is provisioned with. */
  exemplarTraceIdDestinations?: Array<{ name: string; url: string; urlDisplayLabel?: string }>;
}

/** One query, with variables already in. */
export interface PrometheusQuery {
  refId: string;
  expr: string;
  instant?: boolean;
  range?: boolean;
  format?: string;
  legendFormat?: string;
  exemplar?: boolean;
}

/** A point of time and a value, as the API writes them. */
type Sample = [seconds: number, value: string];

/** A native histogram's sample: buckets of (rule for the edges, lower, upper, count). */
export type HistogramSample = [seconds: number, histogram: { buckets?: Array<[number, string, string, string]> }];

/** One series of an answer. */
export interface Series {
  metric: Labels;
  value?: Sample;
  values?: Sample[];
  histograms?: HistogramSample[];
}

type Result =
  { resultType: 'matrix' | 'vector'; result: Series[] } | { resultType: 'scalar' | 'string'; result: Sample };

/** The most points that Prometheus returns for a series. */
const MAX_POINTS = 11_000;

/** `$__interval` and what is derived from it, in milliseconds. */
export interface Steps {
  interval: number;
  rateInterval: number;
}

/** The step of a range query and the window that a rate over it needs, as Grafana computes them. */
export function stepsOf(range: Range, maxDataPoints: number, source: PrometheusSource, minimumStep?: string): Steps {
  const scrape = source.scrapeInterval ?? 15_000;
  const minimum = (minimumStep ? parseDuration(minimumStep) : undefined) ?? scrape;
  const safe = Math.ceil((range.to - range.from) / MAX_POINTS / 1000) * 1000;
  const interval = Math.max(intervalOf(range, maxDataPoints, minimum), safe);
  return { interval, rateInterval: Math.max(interval + minimum, 4 * minimum) };
}

/** Runs one query: a range query, an instant one, or both when both are asked for. */
export async function queryPrometheus(
  source: PrometheusSource,
  query: PrometheusQuery,
  range: Range,
  interval: number,
  http: Http,
): Promise<DataFrame[]> {
  const wantsRange = query.range ?? !query.instant;
  const frames: DataFrame[] = [];
  if (wantsRange) {
    const start = Math.floor(range.from / interval) * interval;
    const end = Math.floor(range.to / interval) * interval;
    const result = await ask<Result>(source, 'query_range', http, {
      query: query.expr,
      start: String(start / 1000),
      end: String(end / 1000),
      step: String(interval / 1000),
    });
    frames.push(...resultFrames(result, query, interval));
  }
  if (query.instant) {
    const result = await ask<Result>(source, 'query', http, { query: query.expr, time: String(range.to / 1000) });
    frames.push(...resultFrames(result, query, undefined));
  }
  if (query.format === 'table') {
    return toTable(frames, query.refId);
  }
  return query.format === 'heatmap' ? bucketFrames(frames, query.refId) : frames;
}

/** How many exemplars a graph shows; Grafana too shows only those that stand out. */
const MOST_EXEMPLARS = 60;

/** The exemplars of a query's series: one frame of (time, value, labels). */
export async function queryExemplars(
  source: PrometheusSource,
  query: PrometheusQuery,
  range: Range,
  http: Http,
): Promise<DataFrame[]> {
  type Answer = Array<{ seriesLabels: Labels; exemplars: Array<{ labels: Labels; value: string; timestamp: number }> }>;
  const answer = await ask<Answer>(source, 'query_exemplars', http, {
    query: query.expr,
    start: String(range.from / 1000),
    end: String(range.to / 1000),
  });
  const found = answer
    .flatMap((series) =>
      series.exemplars.map((exemplar) => ({
        time: Math.round(exemplar.timestamp * 1000),
        value: Number(exemplar.value),
        labels: { ...series.seriesLabels, ...exemplar.labels },
      })),
    )
    .sort((a, b) => a.time - b.time);
  const points = thinned(found, range);
  if (points.length === 0) {
    return [];
  }
  const names = [...new Set(points.flatMap((point) => Object.keys(point.labels)))].sort();
  const fields = [
    field(
      'Time',
      'time',
      points.map((point) => point.time),
    ),
    field(
      'Value',
      'number',
      points.map((point) => point.value),
    ),
    ...names.map((name) =>
      field(
        name,
        'string',
        points.map((point) => (point.labels as Labels)[name] ?? null),
      ),
    ),
  ];
  return [frame(query.refId, fields, { name: 'exemplar', meta: { custom: { resultType: 'exemplar' } } })];
}

/** Asks one endpoint below `/api/v1`. @throws Error with the server's message. */
export async function ask<T>(
  source: PrometheusSource,
  path: string,
  http: Http,
  parameters: Record<string, string | string[]> = {},
): Promise<T> {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      search.append(key, each);
    }
  }
  const url = new URL(`${source.url.replace(/\/$/, '')}/api/v1/${path}?${search}`, http.base);
  const headers: Record<string, string> = source.tenant ? { 'x-scope-orgid': source.tenant } : {};
  const response = await http.fetch(url.href, { headers, signal: http.signal });
  const text = await response.text();
  let body: { status?: string; data?: T; error?: string } = {};
  try {
    body = JSON.parse(text) as typeof body;
  } catch {
    // A proxy or a server that is starting answers in plain text; the text is the message.
  }
  if (!response.ok || body.status !== 'success' || body.data === undefined) {
    throw new Error(body.error ?? (text.trim() || `Prometheus answered ${response.status}`));
  }
  return body.data;
}

function resultFrames(result: Result, query: PrometheusQuery, interval: number | undefined): DataFrame[] {
  if (isScalar(result)) {
    return [seriesFrame({ metric: {}, values: [result.result] }, query, interval)];
  }
  return result.result.map((series: Series) => seriesFrame(series, query, interval));
}

function isScalar(result: Result): result is Extract<Result, { resultType: 'scalar' | 'string' }> {
  return result.resultType === 'scalar' || result.resultType === 'string';
}

function seriesFrame(series: Series, query: PrometheusQuery, interval: number | undefined): DataFrame {
  const name = legendOf(series.metric, query);
  if (series.histograms) {
    return histogramFrame(series, query.refId, name);
  }
  const samples = series.values ?? (series.value ? [series.value] : []);
  const time = field(
    'Time',
    'time',
    samples.map(([at]) => Math.round(at * 1000)),
    interval ? { interval } : {},
  );
  const value = field(
    'Value',
    'number',
    samples.map(([, text]) => toNumber(text)),
    name ? { displayNameFromDS: name } : {},
    series.metric,
  );
  return frame(query.refId, [time, value], {
    name,
    meta: { type: 'timeseries-multi' as never, custom: { resultType: interval ? 'matrix' : 'vector' } },
  });
}

/**
 * What a series is called: the legend's text with `{{label}}` filled in. `__auto` gives none, so that the page names
 * series by the labels in which they differ; an empty legend gives the series' whole name.
 */
export function legendOf(labels: Labels, query: Pick<PrometheusQuery, 'expr' | 'legendFormat'>): string | undefined {
  if (query.legendFormat === '__auto') {
    return Object.keys(labels).length > 0 ? undefined : query.expr;
  }
  if (!query.legendFormat) {
    return seriesName(labels) || query.expr;
  }
  return fillLabels(query.legendFormat, labels);
}

/** Replaces `{{label}}` by the label's value, or by nothing when the series has no such label. */
export function fillLabels(text: string, labels: Labels): string {
  return text.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, name: string) => labels[name] ?? '');
}

function seriesName({ __name__: metric = '', ...labels }: Labels): string {
  const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  const inBraces = pairs.map(([key, value]) => `${key}="${value}"`).join(', ');
  return inBraces ? `${metric}{${inBraces}}` : metric;
}

function toNumber(text: string): number {
  switch (text) {
    case '+Inf':
      return Infinity;
    case '-Inf':
      return -Infinity;
    default:
      return Number(text);
  }
}

/** A native histogram over time: one row for each bucket of each sample. */
function histogramFrame(series: Series, refId: string, name: string | undefined): DataFrame {
  const rows = (series.histograms ?? []).flatMap(([at, { buckets = [] }]) =>
    buckets.map(([, lower, upper, count]) => ({
      at: at * 1000,
      lower: Number(lower),
      upper: Number(upper),
      count: Number(count),
    })),
  );
  return frame(
    refId,
    [
      field(
        'xMax',
        'time',
        rows.map((row) => row.at),
      ),
      field(
        'yMin',
        'number',
        rows.map((row) => row.lower),
      ),
      field(
        'yMax',
        'number',
        rows.map((row) => row.upper),
      ),
      field(
        'count',
        'number',
        rows.map((row) => row.count),
      ),
    ],
    { name, meta: { type: 'heatmap-cells' as never } },
  );
}

/** All series as rows of one table: time, each label, value. */
function toTable(frames: DataFrame[], refId: string): DataFrame[] {
  const names = [...new Set(frames.flatMap((each) => Object.keys(each.fields[1]?.labels ?? {})))].sort();
  const rows = frames.flatMap((each) => {
    const [time, value] = each.fields;
    return (time?.values ?? []).map((at: unknown, index: number) => ({
      at,
      value: value?.values[index] as unknown,
      labels: value?.labels ?? {},
    }));
  });
  if (rows.length === 0) {
    return [];
  }
  return [
    frame(
      refId,
      [
        field(
          'Time',
          'time',
          rows.map((row) => row.at),
        ),
        ...names.map((name) =>
          field(
            name,
            'string',
            rows.map((row) => row.labels[name] ?? ''),
            { filterable: true },
          ),
        ),
        field(
          'Value',
          'number',
          rows.map((row) => row.value),
        ),
      ],
      { meta: { preferredVisualisationType: 'table' } },
    ),
  ];
}

/** The built-in names that a Prometheus query may use beside variables. */
export function stepNames(steps: Steps): Record<string, string> {
  return {
    __interval: formatDuration(steps.interval),
    __interval_ms: String(steps.interval),
    __rate_interval: formatDuration(steps.rateInterval),
    __rate_interval_ms: String(steps.rateInterval),
  };
}

/** As many exemplars as can be told apart: of each part of the range the one with the highest value. */
function thinned<P extends { time: number; value: number }>(points: P[], range: Range): P[] {
  const width = (range.to - range.from) / MOST_EXEMPLARS;
  const highest = new Map<number, P>();
  for (const point of points) {
    const part = Math.floor((point.time - range.from) / width);
    const other = highest.get(part);
    if (!other || point.value > other.value) {
      highest.set(part, point);
    }
  }
  return [...highest.values()];
}
