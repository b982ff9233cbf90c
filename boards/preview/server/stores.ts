/**
 * Passes queries on to ClickHouse and Mimir, and nothing but queries.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Source } from '../query/index.ts';
import { Refusal } from './request.ts';

/** Where the stores are. */
export interface Stores {
  clickhouse: { url: string; database: string; user?: string; password?: string };
  mimir: { url: string; tenant: string };
  /** How often series get a sample, in milliseconds. */
  scrapeInterval: number;
}

/** Longest time that a query may take, in seconds. */
const LONGEST_QUERY = 30;

/** The data sources as the page sees them: under the uids that the dashboards' variables choose from. */
export function sourcesOf({ clickhouse, scrapeInterval }: Stores): Source[] {
  return [
    {
      type: 'prometheus',
      uid: 'mimir',
      name: 'Mimir',
      url: '/api/mimir',
      scrapeInterval,
      exemplarTraceIdDestinations: [
        {
          name: 'trace_id',
          url: '/d/service?var-trace_id=${__value.raw}&${__url_time_range}',
          urlDisplayLabel: 'Show the trace',
        },
      ],
    },
    {
      type: 'grafana-clickhouse-datasource',
      uid: 'clickhouse',
      name: 'ClickHouse',
      url: '/api/clickhouse',
      database: clickhouse.database,
    },
  ];
}

/** Settings that a page may set; others could lift the limits. */
const ALLOWED_SETTINGS = /^(default_format|date_time_output_format|output_format_json_\w+|wait_end_of_query)$/;

/** Sends a statement to ClickHouse, read-only and bounded in time, whatever the page asks for. */
export async function askClickHouse(
  { clickhouse }: Stores,
  request: IncomingMessage,
  sql: string,
  asked: URLSearchParams,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'POST') {
    throw new Refusal(405, 'statements are sent by POST');
  }
  const url = new URL(clickhouse.url);
  for (const [key, value] of asked) {
    if (ALLOWED_SETTINGS.test(key)) {
      url.searchParams.set(key, value);
    }
  }
  url.searchParams.set('database', clickhouse.database);
  // 1 forbids writing, a `SETTINGS` clause that lifts the limit below, and table functions that read files or other
  // servers; 2 would allow both.
  url.searchParams.set('readonly', '1');
  url.searchParams.set('max_execution_time', String(LONGEST_QUERY));
  const headers: Record<string, string> = { 'content-type': 'text/plain; charset=utf-8' };
  if (clickhouse.user) {
    headers['x-clickhouse-user'] = clickhouse.user;
    headers['x-clickhouse-key'] = clickhouse.password ?? '';
  }
  await passOn('ClickHouse', url, { method: 'POST', headers, body: sql }, request, response);
}

/** Endpoints that only read. */
const MIMIR_QUERIES =
  /^\/api\/v1\/(query|query_range|query_exemplars|series|labels|label\/[^/]+\/values|metadata|rules|alerts|status\/buildinfo)$/;

/** Sends a query to Mimir as the configured tenant. */
export async function askMimir(
  { mimir }: Stores,
  request: IncomingMessage,
  body: string,
  asked: URL,
  response: ServerResponse,
): Promise<void> {
  const path = asked.pathname.slice('/api/mimir'.length);
  if (!MIMIR_QUERIES.test(path) || (request.method !== 'GET' && request.method !== 'POST')) {
    throw new Refusal(404, `${request.method} ${path} is not passed on`);
  }
  const url = new URL(`${mimir.url.replace(/\/$/, '')}/prometheus${path}${asked.search}`);
  const headers: Record<string, string> = { 'x-scope-orgid': mimir.tenant };
  if (request.method === 'POST') {
    headers['content-type'] = 'application/x-www-form-urlencoded';
  }
  await passOn(
    'Mimir',
    url,
    { method: request.method, headers, ...(request.method === 'POST' ? { body } : {}) },
    request,
    response,
  );
}

/** Asks, and hands on status, type and body. When the page goes away, so does the question. */
async function passOn(
  name: string,
  url: URL,
  init: RequestInit,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const ending = new AbortController();
  response.once('close', () => ending.abort());
  let answered: Response;
  try {
    answered = await fetch(url, {
      ...init,
      signal: AbortSignal.any([ending.signal, AbortSignal.timeout((LONGEST_QUERY + 5) * 1000)]),
    });
  } catch (cause) {
    const reason = (cause as { cause?: Error }).cause ?? (cause as Error);
    throw new Refusal(502, `${name} at ${url.origin} does not answer: ${reason.message}`);
  }
  const body = Buffer.from(await answered.arrayBuffer());
  if (request.destroyed && response.destroyed) {
    return;
  }
  response.writeHead(answered.status, {
    'content-type': answered.headers.get('content-type') ?? 'text/plain',
    'cache-control': 'no-store',
  });
  response.end(body);
}
