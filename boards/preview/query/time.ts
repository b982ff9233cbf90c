/**
 * Times and intervals as dashboards write them: `now-6h`, `now/d`, `30s`, epoch milliseconds.
 *
 * Everything here is UTC: `now/d` is the start of the UTC day, so that a picture is the same on every machine.
 */

/** A range in epoch milliseconds, and as it was written. */
export interface Range {
  from: number;
  to: number;
  raw: { from: string; to: string };
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const UNITS: Record<string, number> = {
  ms: 1,
  s: SECOND,
  m: MINUTE,
  h: HOUR,
  d: DAY,
  w: 7 * DAY,
  M: 30 * DAY,
  Q: 91 * DAY,
  y: 365 * DAY,
};

/**
 * The steps that a graph's interval is rounded to: below the first number, the second is taken.
 * They are the ones of Grafana, so a query gets the same `$__interval` here and there.
 */
const STEPS: Array<[below: number, step: number]> = [
  [10, 1],
  [15, 10],
  [35, 20],
  [75, 50],
  [150, 100],
  [350, 200],
  [750, 500],
  [1_500, SECOND],
  [3_500, 2 * SECOND],
  [7_500, 5 * SECOND],
  [12_500, 10 * SECOND],
  [17_500, 15 * SECOND],
  [25_000, 20 * SECOND],
  [45_000, 30 * SECOND],
  [90_000, MINUTE],
  [210_000, 2 * MINUTE],
  [450_000, 5 * MINUTE],
  [750_000, 10 * MINUTE],
  [1_050_000, 15 * MINUTE],
  [1_500_000, 20 * MINUTE],
  [2_700_000, 30 * MINUTE],
  [5_400_000, HOUR],
  [9_000_000, 2 * HOUR],
  [16_200_000, 3 * HOUR],
  [32_400_000, 6 * HOUR],
  [86_400_000, 12 * HOUR],
  [604_800_000, DAY],
  [1_814_400_000, 7 * DAY],
  [3_628_800_000, 30 * DAY],
];

/** Milliseconds of a duration such as `10s`, `1h30m` or `1d`; `undefined` when it is none. */
export function parseDuration(text: string): number | undefined {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)(ms|[smhdwMQy])/g)];
  const matched = parts.map((part) => part[0]).join('');
  if (parts.length === 0 || matched !== text.trim()) {
    return undefined;
  }
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (UNITS[unit ?? ''] ?? 0), 0);
}

/** The shortest exact way to write a duration that Prometheus and Grafana both read: `90s`, `5m`, `1d`. */
export function formatDuration(milliseconds: number): string {
  const whole = Math.max(1, Math.round(milliseconds));
  for (const [unit, size] of [
    ['d', DAY],
    ['h', HOUR],
    ['m', MINUTE],
    ['s', SECOND],
  ] as const) {
    if (whole % size === 0) {
      return `${whole / size}${unit}`;
    }
  }
  return `${whole}ms`;
}

/**
 * Epoch milliseconds of one end of a range.
 *
 * @param roundUp whether `/d` and the like mean the unit's end, as they do for `to`
 * @throws Error when the text is no time
 */
export function parseTime(text: string | number, now: number, roundUp = false): number {
  const trimmed = String(text).trim();
  if (/^\d+$/.test(trimmed)) {
    return Number(trimmed);
  }
  if (!trimmed.startsWith('now')) {
    const absolute = Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(trimmed) ? trimmed : `${trimmed.replace(' ', 'T')}Z`);
    if (Number.isNaN(absolute)) {
      throw new Error(`\`${trimmed}\` is no time; write \`now-6h\`, milliseconds or an ISO date`);
    }
    return absolute;
  }
  let at = now;
  let rest = trimmed.slice(3);
  while (rest.length > 0) {
    const shift = /^([+-])(\d+)([smhdwMQy])/.exec(rest);
    const round = /^\/([smhdwMQy])/.exec(rest);
    if (shift) {
      at = addUnits(at, shift[3] ?? '', Number(shift[2]) * (shift[1] === '-' ? -1 : 1));
      rest = rest.slice(shift[0].length);
    } else if (round) {
      at = roundTo(at, round[1] ?? '', roundUp);
      rest = rest.slice(round[0].length);
    } else {
      throw new Error(`\`${trimmed}\` is no time; \`${rest}\` is not understood`);
    }
  }
  return at;
}

/** Both ends of a range, as written in a dashboard or an address. */
export function parseRange(from: string | number, to: string | number, now = Date.now()): Range {
  return { from: parseTime(from, now), to: parseTime(to, now, true), raw: { from: String(from), to: String(to) } };
}

/** What `$__interval` is, in milliseconds: the range by its points, rounded as Grafana does, and at least `minimum`. */
export function intervalOf(range: Range, maxDataPoints: number, minimum: number): number {
  const exact = (range.to - range.from) / Math.max(1, maxDataPoints);
  const found = STEPS.find(([below]) => exact < below);
  return Math.max(found ? found[1] : 365 * DAY, minimum);
}

function addUnits(at: number, unit: string, amount: number): number {
  const date = new Date(at);
  switch (unit) {
    case 'M':
      date.setUTCMonth(date.getUTCMonth() + amount);
      return date.getTime();
    case 'Q':
      date.setUTCMonth(date.getUTCMonth() + 3 * amount);
      return date.getTime();
    case 'y':
      date.setUTCFullYear(date.getUTCFullYear() + amount);
      return date.getTime();
    default:
      return at + amount * (UNITS[unit] ?? 0);
  }
}

function roundTo(at: number, unit: string, up: boolean): number {
  const date = new Date(at);
  let start: number;
  switch (unit) {
    case 'w': {
      const day = Math.floor(at / DAY);
      start = (day - ((day + 3) % 7)) * DAY;
      break;
    }
    case 'M':
      start = Date.UTC(date.getUTCFullYear(), date.getUTCMonth());
      break;
    case 'Q':
      start = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() - (date.getUTCMonth() % 3));
      break;
    case 'y':
      start = Date.UTC(date.getUTCFullYear(), 0);
      break;
    default: {
      const size = UNITS[unit] ?? SECOND;
      start = Math.floor(at / size) * size;
    }
  }
  return up ? addUnits(start, unit, 1) - 1 : start;
}
