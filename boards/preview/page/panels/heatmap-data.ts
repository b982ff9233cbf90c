/**
 * The cells of a heatmap, whichever way the frames spell them.
 */
import type { DataFrame } from '@grafana/data';
import type { FieldKind } from '../../query/index.ts';
import { usualStep } from './time-steps.ts';

/** A coloured rectangle: a stretch of time by a stretch of the y axis. */
export interface HeatCell {
  from: number;
  to: number;
  /** For bucket rows the row's index and the next; for native histograms the bounds themselves. */
  low: number;
  high: number;
  count: number;
  label: string;
}

/** Cells and how their y axis is to be labelled. */
export interface Heat {
  cells: HeatCell[];
  /** Names of rows from the bottom up; empty when the y axis is numeric. */
  rows: string[];
}

/** Reads either one column for each bucket, or (xMax, yMin, yMax, count). */
export function heatOf(frames: DataFrame[]): Heat {
  const frame = frames[0];
  const time = frame?.fields.find((field) => (field.type as FieldKind) === 'time');
  if (!frame || !time) {
    return { cells: [], rows: [] };
  }
  const byName = (name: string) => frame.fields.find((field) => field.name === name);
  const [low, high, count] = [byName('yMin'), byName('yMax'), byName('count')];
  const times = time.values as number[];
  if (low && high && count) {
    const step = usualStep([...new Set(times)], time.config.interval);
    const cells = times.map((at, index) => ({
      from: at - step,
      to: at,
      low: Number(low.values[index]),
      high: Number(high.values[index]),
      count: Number(count.values[index]),
      label: `${shown(low.values[index])} – ${shown(high.values[index])}`,
    }));
    return { cells, rows: [] };
  }
  const buckets = frames.flatMap((each) => each.fields.filter((field) => (field.type as FieldKind) === 'number'));
  const step = usualStep(times, time.config.interval);
  const cells = buckets.flatMap((bucket, row) =>
    times.flatMap((at, index) => {
      const value = bucket.values[index] as number | null;
      return value === null || value === undefined
        ? []
        : [
            {
              from: at,
              to: at + step,
              low: row,
              high: row + 1,
              count: value,
              label: nameOf(bucket.labels, bucket.name),
            },
          ];
    }),
  );
  return { cells, rows: buckets.map((bucket) => nameOf(bucket.labels, bucket.name)) };
}

/** The largest count, and the smallest that is shown. */
export function extent(cells: HeatCell[], least: number): { min: number; max: number } {
  const counts = cells.map((cell) => cell.count).filter((count) => count > least && Number.isFinite(count));
  return { min: Math.min(...counts, Infinity), max: Math.max(...counts, -Infinity) };
}

function nameOf(labels: Record<string, string> | undefined, name: string): string {
  return labels?.['le'] ?? Object.values(labels ?? {})[0] ?? name;
}

function shown(value: unknown): string {
  return Number(value).toPrecision(3);
}
