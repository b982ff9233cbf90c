/**
 * Asks ClickHouse over HTTP and makes frames as Grafana's plugin (`grafana-clickhouse-datasource` 4.x) does.
 *
 * What a column becomes follows the plugin's converters: every integer, float and Decimal is a number (so above 2^53
 * it is rounded here as in Grafana), DateTime and Date are times in epoch milliseconds, Map, Array, Tuple and JSON are
 * objects, everything else is text.
 */
import type { DataFrame, Field } from '@grafana/data';
import { field, frame, longToWide, shapeOf, type FieldKind } from './frames.ts';
import type { Http } from './http.ts';

/** Where ClickHouse is. */
export interface ClickHouseSource {
  type: 'grafana-clickhouse-datasource';
  uid: string;
  name: string;
  /** Base address, with or without a trailing slash. */
  url: string;
  database?: string;
  user?: string;
  password?: string;
}

/** The plugin's `format` of a query. */
export enum Format {
  TimeSeries = 0,
  Table = 1,
  Logs = 2,
  Traces = 3,
}

/** What the server answers in the format JSONCompact. */
interface JsonCompact {
  meta: Array<{ name: string; type: string }>;
  data: unknown[][];
}

/** Settings that make JSON values readable without knowing the server's defaults. */
const OUTPUT_SETTINGS: Record<string, string> = {
  default_format: 'JSONCompact',
  date_time_output_format: 'iso',
  output_format_json_quote_64bit_integers: '0',
  output_format_json_quote_decimals: '0',
  output_format_json_quote_denormals: '1',
  output_format_json_named_tuples_as_objects: '1',
  // An error after the first rows would otherwise arrive behind a status of 200.
  wait_end_of_query: '1',
};

/** Runs one statement, macros already expanded. @throws Error with the server's message. */
export async function queryClickHouse(
  source: ClickHouseSource,
  sql: string,
  refId: string,
  http: Http,
): Promise<DataFrame> {
  const url = new URL(source.url, http.base);
  for (const [key, value] of Object.entries(OUTPUT_SETTINGS)) {
    url.searchParams.set(key, value);
  }
  if (source.database) {
    url.searchParams.set('database', source.database);
  }
  const headers: Record<string, string> = { 'content-type': 'text/plain; charset=utf-8' };
  if (source.user) {
    headers['x-clickhouse-user'] = source.user;
    headers['x-clickhouse-key'] = source.password ?? '';
  }
  const response = await http.fetch(url.href, { method: 'POST', body: sql, headers, signal: http.signal });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(text.trim() || `ClickHouse answered ${response.status}`);
  }
  if (text.trim() === '') {
    return frame(refId, []);
  }
  return toFrame(JSON.parse(text) as JsonCompact, refId);
}

/** Gives a frame the shape that a query's format asks for. */
export function shapeForFormat(data: DataFrame, format: number): DataFrame {
  switch (format) {
    case Format.Logs:
      return { ...mergeAttributes(data), meta: { ...data.meta, preferredVisualisationType: 'logs' } };
    case Format.Traces:
      return { ...data, meta: { ...data.meta, preferredVisualisationType: 'trace' } };
    case Format.TimeSeries:
      return data.length > 0 && shapeOf(data) === 'long' ? longToWide(data) : data;
    default:
      return { ...data, meta: { ...data.meta, preferredVisualisationType: 'table' } };
  }
}

/** Makes a frame of an answer. Exported for tests of the type mapping. */
export function toFrame(answer: JsonCompact, refId: string): DataFrame {
  const fields = answer.meta.map(({ name, type }, index) =>
    column(
      name,
      type,
      answer.data.map((row) => row[index]),
    ),
  );
  return frame(refId, fields);
}

function column(name: string, type: string, values: unknown[]): Field {
  const plain = unwrap(type);
  const kind = kindOf(plain);
  if (kind === 'time') {
    return timeColumn(name, values);
  }
  if (kind === 'number') {
    return field(name, kind, values.map(toNumber));
  }
  if (kind === 'string') {
    return field(
      name,
      kind,
      values.map((value) => (value === null ? null : String(value))),
    );
  }
  return field(name, kind, values);
}

/** The type within Nullable, LowCardinality and SimpleAggregateFunction. */
function unwrap(type: string): string {
  const inner =
    /^(?:Nullable|LowCardinality)\((.*)\)$/s.exec(type) ?? /^SimpleAggregateFunction\(\w+,\s*(.*)\)$/s.exec(type);
  return inner?.[1] === undefined ? type : unwrap(inner[1]);
}

function kindOf(type: string): FieldKind {
  if (/^(U?Int|Float|BFloat|Decimal|Interval)/.test(type)) {
    return 'number';
  }
  if (/^Date/.test(type)) {
    return 'time';
  }
  if (type === 'Bool') {
    return 'boolean';
  }
  return /^(Map|Array|Tuple|Nested|JSON|Variant|Dynamic|Point|Object)/.test(type) ? 'other' : 'string';
}

/** A number; the text that stands for infinity or for no number becomes one too. */
function toNumber(value: unknown): number | null {
  if (value === null || value === undefined) {
    return null;
  }
  switch (value) {
    case 'inf':
      return Infinity;
    case '-inf':
      return -Infinity;
    case 'nan':
    case '-nan':
      return NaN;
    default:
      return Number(value);
  }
}

/** Times in milliseconds; what is below a millisecond goes to the field's `nanos`, as Grafana keeps it. */
function timeColumn(name: string, values: unknown[]): Field {
  const nanos: number[] = [];
  const milliseconds = values.map((value) => {
    if (value === null || value === undefined) {
      nanos.push(0);
      return null;
    }
    const text = String(value);
    const fraction = /\.(\d+)/.exec(text)?.[1] ?? '';
    nanos.push(Number(fraction.padEnd(9, '0').slice(3, 9)));
    const upToMilliseconds = text.replace(/\.(\d{1,3})\d*/, '.$1').replace(' ', 'T');
    return Date.parse(/Z$|^\d{4}-\d\d-\d\d$/.test(upToMilliseconds) ? upToMilliseconds : `${upToMilliseconds}Z`);
  });
  const made = field(name, 'time', milliseconds);
  return nanos.some((each) => each > 0) ? { ...made, nanos } : made;
}

const ATTRIBUTE_COLUMNS = ['ResourceAttributes', 'ScopeAttributes', 'LogAttributes'];

/** One `labels` column in place of OpenTelemetry's three of attributes, each key prefixed with its column's name. */
function mergeAttributes(data: DataFrame): DataFrame {
  const attributes = data.fields.filter((each) => ATTRIBUTE_COLUMNS.includes(each.name));
  if (attributes.length === 0 || data.fields.some((each) => each.name === 'labels')) {
    return data;
  }
  const labels = Array.from({ length: data.length }, (_, row) => {
    const merged: Record<string, unknown> = {};
    for (const each of attributes) {
      for (const [key, value] of Object.entries((each.values[row] ?? {}) as Record<string, unknown>)) {
        merged[`${each.name}.${key}`] = value;
      }
    }
    return merged;
  });
  const others = data.fields.filter((each) => !attributes.includes(each));
  return { ...data, fields: [...others, field('labels', 'other', labels)] };
}
