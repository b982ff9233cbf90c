/**
 * The rows of a logs panel. Columns are those of the ClickHouse plugin's logs format, found by name, else by type.
 */
import type { DataFrame, Field } from '@grafana/data';
import type { FieldKind } from '../../query/index.ts';

/** One line. */
export interface LogRow {
  /** Epoch milliseconds. */
  time: number;
  level: string;
  body: string;
  /** Labels and every other column. */
  details: Array<{ key: string; value: string; field: Field; frame: DataFrame; row: number }>;
}

const BODY = ['body', 'message', 'line', 'log'];
const LEVEL = ['level', 'severity', 'severitytext', 'detected_level'];

/** Reads rows, newest first unless `ascending`. */
export function logRows(frames: DataFrame[], ascending: boolean): LogRow[] {
  const rows = frames.flatMap((frame) => {
    const named = (names: string[]) => frame.fields.find((field) => names.includes(field.name.toLowerCase()));
    const time = named(['timestamp', 'time']) ?? frame.fields.find((field) => (field.type as FieldKind) === 'time');
    const body = named(BODY) ?? frame.fields.find((field) => (field.type as FieldKind) === 'string');
    const level = named(LEVEL);
    const others = frame.fields.filter((field) => field !== time && field !== body);
    return Array.from({ length: frame.length }, (_, row) => ({
      time: Number(time?.values[row] ?? NaN),
      level: levelOf(String(level?.values[row] ?? '')),
      body: String(body?.values[row] ?? ''),
      details: others.flatMap((field) => detailsOf(field, frame, row)),
    }));
  });
  return rows.sort((a, b) => (ascending ? a.time - b.time : b.time - a.time));
}

/** The five levels that have a colour; what is none of them is unknown. */
export function levelOf(text: string): string {
  const lower = text.toLowerCase();
  const known: Array<[level: string, starts: string[]]> = [
    ['critical', ['crit', 'fatal', 'emerg', 'alert']],
    ['error', ['err', 'eror']],
    ['warning', ['warn']],
    ['info', ['info', 'notice']],
    ['debug', ['debug', 'dbug']],
    ['trace', ['trace']],
  ];
  return known.find(([, starts]) => starts.some((start) => lower.startsWith(start)))?.[0] ?? 'unknown';
}

function detailsOf(field: Field, frame: DataFrame, row: number): LogRow['details'] {
  const value: unknown = field.values[row];
  if (value === null || value === undefined || value === '') {
    return [];
  }
  if (typeof value === 'object' && !Array.isArray(value)) {
    return Object.entries(value)
      .filter(([, each]) => each !== '')
      .map(([key, each]) => ({ key, value: String(each), field, frame, row }));
  }
  return [
    { key: field.name, value: typeof value === 'object' ? JSON.stringify(value) : String(value), field, frame, row },
  ];
}
