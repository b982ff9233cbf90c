/**
 * Contexts and made-up servers for the tests of this folder.
 */
import { ALL, type QueryContext, type Source, type Variable, type Variables } from './context.ts';
import type { Http } from './http.ts';
import { parseRange } from './time.ts';

/** 2026-11-30 12:00:00 UTC. */
export const NOON = Date.UTC(2026, 10, 30, 12);

/** The two stores, at addresses that only a made-up server answers. */
export const SOURCES: Source[] = [
  {
    type: 'prometheus',
    uid: 'mimir',
    name: 'Mimir',
    url: 'http://mimir.test/prometheus',
    tenant: 'demo',
    scrapeInterval: 10_000,
  },
  {
    type: 'grafana-clickhouse-datasource',
    uid: 'clickhouse',
    name: 'ClickHouse',
    url: 'http://clickhouse.test/',
    database: 'otel',
  },
];

/** A variable with values and choices; several values make it one that may have several. */
export function variable(name: string, values: string[], rest: Partial<Variable> = {}): Variable {
  return {
    name,
    type: 'custom',
    label: name,
    hide: 0,
    multi: values.length > 1 || values.includes(ALL),
    includeAll: values.includes(ALL),
    options: values.filter((value) => value !== ALL).map((value) => ({ text: value, value })),
    values,
    ...rest,
  };
}

/** Variables by name. */
export function variables(...list: Variable[]): Variables {
  return new Map(list.map((each) => [each.name, each]));
}

/** A request as the made-up server saw it. */
export interface Seen {
  url: URL;
  body: string;
  headers: Record<string, string>;
}

/** A server that answers from a function and remembers what it was asked. */
export function fakeHttp(answer: (seen: Seen) => { status?: number; body: unknown }): { http: Http; seen: Seen[] } {
  const seen: Seen[] = [];
  const fetch = (async (input: unknown, init?: RequestInit) => {
    const request: Seen = {
      url: new URL(String(input)),
      body: String(init?.body ?? ''),
      headers: (init?.headers ?? {}) as Record<string, string>,
    };
    seen.push(request);
    const { status = 200, body } = answer(request);
    return new Response(typeof body === 'string' ? body : JSON.stringify(body), { status });
  }) as typeof globalThis.fetch;
  return { http: { fetch }, seen };
}

/** A context over the six hours before noon. */
export function contextOf(http: Http, ...list: Variable[]): QueryContext {
  return {
    sources: SOURCES,
    range: parseRange('now-6h', 'now', NOON),
    variables: variables(...list),
    http,
    board: { uid: 'slo', title: 'SLO' },
    maxDataPoints: 1000,
  };
}
