/**
 * Builds the data frames that panels draw.
 *
 * The types are those of `@grafana/data`, its code is not loaded: queries run in tests without a browser, at once.
 */
import type { DataFrame, Field, FieldConfig, FieldType, Labels } from '@grafana/data';

/** Grafana's field types by name, since the enum itself is code. */
export type FieldKind = `${FieldType}`;

/** Makes a field. */
export function field(
  name: string,
  kind: FieldKind,
  values: unknown[],
  config: FieldConfig = {},
  labels?: Labels,
): Field {
  return { name, type: kind as FieldType, values, config, ...(labels ? { labels } : {}) };
}

/** Makes a frame; its length is that of its first field. */
export function frame(refId: string, fields: Field[], rest: Partial<DataFrame> = {}): DataFrame {
  return { ...rest, refId, fields, length: fields[0]?.values.length ?? 0 };
}

/** Whether a frame is a time series, and in which shape: `long` has text columns that name the series of a row. */
export function shapeOf(data: DataFrame): 'long' | 'wide' | 'none' {
  const kinds = data.fields.map((each) => each.type as FieldKind);
  const has = (...wanted: FieldKind[]) => kinds.some((kind) => wanted.includes(kind));
  if (!has('time') || !has('number', 'boolean')) {
    return 'none';
  }
  return has('string') ? 'long' : 'wide';
}

/**
 * Turns rows (time, names, values) into one column for each series, with the names as labels.
 *
 * A series without a row at a time gets `null` there, which draws a gap.
 *
 * @throws Error when rows are not sorted by time or a time is missing, as Grafana's server refuses them
 */
export function longToWide(data: DataFrame): DataFrame {
  const timeIndex = data.fields.findIndex((each) => (each.type as FieldKind) === 'time');
  const time = data.fields[timeIndex];
  if (!time) {
    throw new Error('a time series needs a time column');
  }
  const factors = data.fields.filter((each) => (each.type as FieldKind) === 'string');
  const values = data.fields.filter((each) => ['number', 'boolean'].includes(each.type));
  const times: number[] = [];
  const series = new Map<string, Field>();

  for (let row = 0; row < data.length; row += 1) {
    const at = time.values[row] as number | null;
    if (at === null || at === undefined) {
      throw new Error(`row ${row + 1} has no time; a time series needs one in each row`);
    }
    const last = times[times.length - 1];
    if (last !== undefined && at < last) {
      throw new Error('rows of a time series must be sorted by time, ascending: add ORDER BY');
    }
    if (at !== last) {
      times.push(at);
    }
    const labels = Object.fromEntries(factors.map((factor) => [factor.name, String(factor.values[row] ?? '')]));
    for (const value of values) {
      const key = JSON.stringify([value.name, labels]);
      let column = series.get(key);
      if (!column) {
        column = { ...value, labels, values: [], config: { ...value.config } };
        series.set(key, column);
      }
      fillWithNull(column.values, times.length - 1);
      column.values[times.length - 1] = value.values[row];
    }
  }
  for (const column of series.values()) {
    fillWithNull(column.values, times.length);
  }
  const columns = [...series.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, column]) => column);
  return { ...data, fields: [{ ...time, values: times }, ...columns], length: times.length };
}

function fillWithNull(values: unknown[], length: number): void {
  while (values.length < length) {
    values.push(null);
  }
}
