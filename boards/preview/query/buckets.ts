/**
 * Turns classic histogram series (one for each `le`, cumulative) into the rows of a heatmap.
 */
import type { DataFrame } from '@grafana/data';
import { field, frame, type FieldKind } from './frames.ts';

/**
 * One frame: time, then a column of counts for each bucket from the lowest bound up, not cumulative any more.
 *
 * Frames of native histograms pass as they are. Series without `le` keep their order and values.
 */
export function bucketFrames(frames: DataFrame[], refId: string): DataFrame[] {
  const native = frames.filter((each) => each.meta?.type === ('heatmap-cells' as never));
  if (native.length > 0 || frames.length === 0) {
    return native;
  }
  const times = [...new Set(frames.flatMap((each) => each.fields[0]?.values ?? []))].sort(
    (a, b) => Number(a) - Number(b),
  );
  const isCumulative = frames.every((each) => each.fields[1]?.labels?.['le'] !== undefined);
  const bounds = new Map<string, Map<unknown, number>>();
  for (const each of frames) {
    const [time, value] = each.fields;
    const bound = value?.labels?.['le'] ?? each.name ?? '';
    const counts = bounds.get(bound) ?? new Map<unknown, number>();
    time?.values.forEach((at: unknown, index: number) => {
      counts.set(at, (counts.get(at) ?? 0) + Number(value?.values[index] ?? 0));
    });
    bounds.set(bound, counts);
  }
  const ordered = [...bounds.entries()];
  if (isCumulative) {
    ordered.sort(([a], [b]) => boundOf(a) - boundOf(b));
  }
  const columns = ordered.map(([bound, counts], index) => {
    const below = isCumulative ? ordered[index - 1]?.[1] : undefined;
    const values = times.map((at) => {
      const count = counts.get(at);
      return count === undefined ? null : Math.max(0, count - (below?.get(at) ?? 0));
    });
    return field(bound, 'number', values, {}, { le: bound });
  });
  const interval = frames[0]?.fields.find((each) => (each.type as FieldKind) === 'time')?.config.interval;
  const time = field('Time', 'time', times, interval ? { interval } : {});
  return [frame(refId, [time, ...columns], { meta: { type: 'heatmap-rows' as never } })];
}

function boundOf(text: string): number {
  return text === '+Inf' ? Infinity : Number(text);
}
