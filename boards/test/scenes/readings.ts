/** Panels as readings: few numbers each, which are the same from run to run unless something happens. */
import type { DataFrame, Field } from '@grafana/data';
import { targetsOf, type Panel } from '../../preview/query/index.ts';
import { seriesName, type Answer } from '../stores/figures.ts';

/** What a number is a measure of; by this it is known how far it may wander. */
export type Kind =
  'count' | 'sampled' | 'gauge' | 'share' | 'money' | 'seconds' | 'number' | 'bytes' | 'state' | 'text';

/** One number or text of a panel; `null` where the panel says that it knows none. */
export interface Reading {
  kind: Kind;
  value: number | string | null;
}

/** What a panel showed. */
export interface Measured {
  board: string;
  /** Its title; with its type, where the board has two of the title. */
  title: string;
  /** By the name of a series, of a column, or of a row. */
  readings: Record<string, Reading>;
}

/** Kinds by unit. Anything else counts something. */
const KINDS: Record<string, Kind> = {
  percentunit: 'share',
  currencyUSD: 'money',
  reqps: 'sampled',
  s: 'seconds',
  ms: 'seconds',
  bytes: 'bytes',
  none: 'number',
};

/** Most rows of a list that are told apart; of a longer one the number of rows says enough. */
const ROWS = 8;
/** Every state is told once a second. */
const STEP = 1;

/** What a panel's answers say. Names that differ from run to run, of processes and of a scene's topics, are left out. */
export function readingsOf(panel: Panel, answers: Answer[]): Measured['readings'] {
  const readings: Measured['readings'] = {};
  for (const { refId, frames } of answers) {
    const isSql = targetsOf(panel).find((target) => target.refId === refId)?.['rawSql'] !== undefined;
    for (const frame of frames) {
      Object.assign(readings, readingsIn(panel, frame, refId, isSql));
    }
  }
  return readings;
}

function readingsIn(panel: Panel, frame: DataFrame, refId: string, isSql: boolean): Measured['readings'] {
  const numbers = frame.fields.filter(({ type }) => (type as string) === 'number');
  const kind = KINDS[panel.fieldConfig?.defaults.unit ?? ''] ?? 'count';
  switch (panel.type) {
    case 'logs':
    case 'traces':
      return { rows: { kind: 'count', value: frame.length } };
    case 'heatmap':
      // How long requests take is the machine's; how many there were is the scene's.
      return { all: { kind: 'sampled', value: total(numbers.flatMap(({ values }) => values as unknown[])) } };
    case 'state-timeline':
      // Of minutes the worst; of conditions, which hold or do not, for how long one did not.
      return isSql
        ? series(numbers, 'state', (found) => Math.max(...found))
        : series(numbers, 'seconds', (found) => found.filter((state) => state === 0).length * STEP);
    case 'timeseries':
      // What happened is added up; what is so is read at its highest.
      return isSql || kind === 'sampled'
        ? series(numbers, kind, kind === 'share' ? (found) => Math.min(...found) : total)
        : series(numbers, kind === 'count' ? 'gauge' : kind, (found) => Math.max(...found));
    default:
      return frame.length > ROWS ? { rows: { kind: 'count', value: frame.length } } : rows(frame, numbers, kind, refId);
  }
}

function series(fields: Field[], kind: Kind, reduce: (found: number[]) => number | null): Measured['readings'] {
  return Object.fromEntries(
    fields.map((field) => {
      const found = field.values.flatMap((value: unknown) => finite(value) ?? []);
      return [plain(seriesName(field)), { kind, value: found.length === 0 ? null : reduce(found) }];
    }),
  );
}

function rows({ fields, length }: DataFrame, numbers: Field[], kind: Kind, refId: string): Measured['readings'] {
  const readings: Measured['readings'] = {};
  const texts = fields.filter(({ type }) => (type as string) === 'string');
  for (let row = 0; row < length; row += 1) {
    const name = texts.map(({ values }) => `${String(values[row])} `).join('');
    for (const field of numbers) {
      const column = field.name === 'Value' ? refId : field.name;
      readings[plain(`${name}${column}`)] = { kind, value: finite(field.values[row]) };
    }
    if (numbers.length === 0) {
      readings.text = { kind: 'text', value: name.trim() };
    }
  }
  return readings;
}

const finite = (value: unknown) => (typeof value === 'number' && Number.isFinite(value) ? value : null);

function total(values: unknown[]): number | null {
  const found = values.flatMap((value) => finite(value) ?? []);
  return found.length === 0 ? null : found.reduce((sum, each) => sum + each, 0);
}

/** A process is named by host and port, and topics begin with the scene's name. */
function plain(name: string): string {
  return name
    .replace(/[\w.-]+:\d{2,5}/g, '')
    .replace(/\b\w+\.(?=otlp_)/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}
