/**
 * The stores that a scene has filled, and what is true of it.
 *
 * The harness (`e2e/src/boards.rs`) starts the line, drives the traffic, and names both in the environment.
 */
import { readFileSync } from 'node:fs';
import {
  parseRange,
  resolveVariables,
  type Chosen,
  type Dashboard,
  type QueryContext,
  type Range,
  type Source,
} from '../../preview/query/index.ts';

/** What a service has printed. */
export interface Service {
  name: string;
  lines: string[];
  /** Whether the shipped rules derive series of it. */
  is_derived: boolean;
}

/** An item of the menu, as the Menu API lists it. */
export interface Item {
  id: string;
  name: string;
  price: number;
  available: boolean;
  restaurant: string;
  category: string;
}

/** What `e2e/src/boards/facts.rs` writes. Times are in milliseconds since the epoch. */
export interface Facts {
  from: number;
  to: number;
  services: Service[];
  menu: { menu_items: Item[] };
  yesterday: string[];
}

/** The names without which no store is asked. */
const NEEDED = ['CLICKHOUSE_URL', 'CLICKHOUSE_DATABASE', 'MIMIR_URL', 'MIMIR_TENANT', 'BOARDS_FACTS'] as const;

/** Which of the needed names the environment lacks. */
export const missing = NEEDED.filter((name) => !process.env[name]);

/** The harness pushes every second; a rate needs four samples. */
const SCRAPE_INTERVAL = 1000;

/** Both stores under the uids that boards know them by. */
export function sources(): Source[] {
  const [clickhouse = '', database = '', mimir = '', tenant = ''] = NEEDED.map((name) => process.env[name]);
  return [
    {
      type: 'prometheus',
      uid: 'mimir',
      name: 'Mimir',
      url: `${mimir}/prometheus`,
      tenant,
      scrapeInterval: SCRAPE_INTERVAL,
    },
    { type: 'grafana-clickhouse-datasource', uid: 'clickhouse', name: 'ClickHouse', url: clickhouse, database },
  ];
}

/** The truth of the scene. */
export function readFacts(): Facts {
  return JSON.parse(readFileSync(process.env['BOARDS_FACTS'] ?? '', 'utf8')) as Facts;
}

/** The id of a request's trace, of one that failed if there is any, for the board that draws a trace. */
export function failedTrace({ services }: Facts): string {
  const lines = services.find(({ name }) => name === 'mock-service')?.lines ?? [];
  const traced = lines.filter((text) => text.includes('"trace_id"'));
  const line = traced.find((text) => text.includes('"status_code":500')) ?? traced[0];
  return (JSON.parse(line ?? '{}') as { trace_id?: string }).trace_id ?? '';
}

/** A range between two moments in milliseconds. */
export function between(from: number, to: number): Range {
  return parseRange(from, to);
}

/** A board's context over a range, with these values chosen; the variables whose choices could not be had are errors. */
export async function contextOf(board: Dashboard, range: Range, chosen: Chosen = {}): Promise<QueryContext> {
  const known = { sources: sources(), range, http: { fetch }, board: { uid: board.uid, title: board.title } };
  const { variables, errors } = await resolveVariables(board, known, chosen);
  if (errors.length > 0) {
    throw new Error(errors.map(({ message }) => message).join('\n'));
  }
  return { ...known, variables };
}
