/** What a series does over a scene, and the notation that promtool reads it in. Times are counted from the scene's beginning. */

/** One stretch of a series: it begins where the one before ends, and lasts to a time, that included, or to the scene's end. */
export type Piece = { until?: string } & (
  | { does: 'grow'; perSecond: number }
  | { does: 'be'; value: number }
  /** There are no samples, as of a process that was killed. */
  | { does: 'miss' }
  /** It ends as a scraper, or a process that ends in order, notes it. */
  | { does: 'end' }
);

export type Plan = Piece[];

const lasting = (until: string | undefined) => (until === undefined ? {} : { until });

/** Changes evenly. */
export const grow = (perSecond: number, until?: string): Piece => ({ does: 'grow', perSecond, ...lasting(until) });

/** Has this value. */
export const be = (value: number, until?: string): Piece => ({ does: 'be', value, ...lasting(until) });

/** Has no samples. */
export const miss = (until?: string): Piece => ({ does: 'miss', ...lasting(until) });

/** Is ended. */
export const end = (until?: string): Piece => ({ does: 'end', ...lasting(until) });

/** Has 0 for a minute before this time, as the hub's derived series begin, and goes on so. */
export const begins = (at: string, ...pieces: Plan): Plan => [miss(clock(seconds(at) - 60)), be(0, at), ...pieces];

/** Grows by 1 at each of these times, which ascend. */
export function counts(...times: string[]): Plan {
  return [...times.map((at, before) => be(before, clock(seconds(at) - 1))), be(times.length)];
}

/** Growth by 1 at once, every so often from one time to another. It has `start` before and stands still after. */
export function steps(from: string, to: string, every: string, start = 0): Plan {
  const [first, last, step] = [seconds(from), seconds(to), seconds(every)];
  const times = Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, index) => first + index * step);
  return [...times.map((at, before) => be(start + before, clock(at - 1))), be(start + times.length)];
}

/** The same, at this share. */
export const scaled = (plan: Plan, share: number): Plan =>
  plan.map((piece) => {
    switch (piece.does) {
      case 'grow':
        return { ...piece, perSecond: piece.perSecond * share };
      case 'be':
        return { ...piece, value: piece.value * share };
      default:
        return piece;
    }
  });

/** When a process lives, and whether its series are ended with it. */
export interface Life {
  /** It has begun to count at this time. */
  from?: string;
  until?: string;
  /** It was killed: its last samples stand. */
  killed?: boolean;
}

/** The part of a plan in which a process lives; a counter begins at 0 with it. */
export function during(life: Life, plan: Plan): Plan {
  const from = life.from === undefined ? -1 : seconds(life.from);
  const until = life.until === undefined ? Infinity : seconds(life.until);
  const endsAt = (piece: Piece) => (piece.until === undefined ? Infinity : seconds(piece.until));
  const kept: Plan = life.from === undefined ? [] : [miss(life.from)];
  let begin = -1;
  for (const piece of plan) {
    const ends = endsAt(piece);
    if (ends > from && begin < until) {
      kept.push(ends > until ? { ...piece, until: clock(until) } : piece);
    }
    begin = ends;
  }
  return until === Infinity ? kept : [...kept, life.killed === true ? miss() : end()];
}

/** A plan as samples at every `interval` seconds from 0 to `length`. */
export function notation(plan: Plan, interval: number, length: number): string {
  const parts: string[] = [];
  let [next, begin, value, isEnded] = [0, 0, 0, false];
  for (const piece of plan) {
    const until = piece.until === undefined ? length : Math.min(seconds(piece.until), length);
    const count = Math.floor(until / interval) - next + 1;
    if (piece.does === 'be') {
      value = piece.value;
    }
    if (count > 0) {
      switch (piece.does) {
        case 'grow':
          parts.push(run(value + piece.perSecond * (next * interval - begin), piece.perSecond * interval, count));
          break;
        case 'be':
          parts.push(run(value, 0, count));
          break;
        case 'miss':
          parts.push(`_x${count}`);
          break;
        case 'end':
          parts.push(...(isEnded ? [`_x${count}`] : ['stale', ...(count > 1 ? [`_x${count - 1}`] : [])]));
      }
      next += count;
      isEnded = piece.does === 'end';
    }
    value = piece.does === 'grow' ? value + piece.perSecond * (until - begin) : piece.does === 'be' ? value : 0;
    begin = Math.max(begin, until);
  }
  return parts.join(' ');
}

/** Samples from a value on, each by `step` above the one before. */
function run(value: number, step: number, count: number): string {
  const change = step === 0 ? '' : step > 0 ? `+${plain(step)}` : `-${plain(-step)}`;
  return count === 1 ? plain(value) : `${plain(value)}${change}x${count - 1}`;
}

/** Without an exponent. */
const plain = (value: number) => String(Number(value.toFixed(6)));

const UNITS: Record<string, number> = { d: 86_400, h: 3600, m: 60, s: 1 };

/** Seconds of a duration such as `1h30m`. */
export function seconds(duration: string): number {
  const parts = [...duration.matchAll(/(\d+)([dhms])/g)];
  if (parts.map(([text]) => text).join('') !== duration || duration === '') {
    throw new Error(`"${duration}" is no duration such as 1h30m`);
  }
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS[unit ?? ''] ?? 0), 0);
}

/** The duration of so many seconds. */
export const clock = (count: number) => `${Math.max(0, Math.round(count))}s`;
