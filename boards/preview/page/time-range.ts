/**
 * Between our ranges and those of Grafana's components.
 */
import { dateTime, type TimeRange } from '@grafana/data';
import type { Range } from '../query/index.ts';

/** A range for Grafana's components. */
export function toTimeRange(range: Range): TimeRange {
  const rawOf = (text: string) => (/^\d+$/.test(text) ? dateTime(Number(text)) : text);
  return {
    from: dateTime(range.from),
    to: dateTime(range.to),
    raw: { from: rawOf(range.raw.from), to: rawOf(range.raw.to) },
  };
}

/** What a picker has chosen, as an address writes it. */
export function fromTimeRange({ raw }: TimeRange): { from: string; to: string } {
  const text = (value: TimeRange['raw']['from']) => (typeof value === 'string' ? value : String(value.valueOf()));
  return { from: text(raw.from), to: text(raw.to) };
}

/** The range before or after (`-1`, `1`) by half its length, or (`0`) twice as wide. */
export function moved(range: Range, direction: -1 | 0 | 1): { from: string; to: string } {
  const half = (range.to - range.from) / 2;
  const from = direction === 0 ? range.from - half : range.from + direction * half;
  const to = direction === 0 ? range.to + half : range.to + direction * half;
  return { from: String(Math.round(from)), to: String(Math.round(to)) };
}
