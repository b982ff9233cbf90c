/** The check of a real Grafana, against one that is made up: what is well passes, and each kind of trouble is named. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { panelsOf, parseRange, targetsOf } from '../preview/query/index.ts';
import { checkGrafana, inWords } from './grafana/check.ts';
import { readBoards } from './lint/index.ts';

/** A request as the made-up Grafana got it. */
interface Asked {
  path: string;
  authorization: string | undefined;
  query: { refId: string; rawSql?: string; expr?: string; datasource: { uid: string } } | undefined;
}

interface Reply {
  status: number;
  body: unknown;
}

const BOARDS = readBoards();
const RANGE = parseRange('now-6h', 'now', Date.UTC(2026, 10, 30, 12));
const TYPES: Record<string, string> = { mimir: 'prometheus', clickhouse: 'grafana-clickhouse-datasource' };
const ROW = { data: { values: [['menu-api']] } };

/** What a Grafana answers that has everything. */
function healthy({ path, query }: Asked): Reply {
  const uid = path.split('/').pop() ?? '';
  if (path === '/api/health') {
    return { status: 200, body: { version: '13.2.3', database: 'ok' } };
  }
  if (path.startsWith('/api/datasources/')) {
    return { status: 200, body: { uid, type: TYPES[uid] } };
  }
  if (path.startsWith('/api/dashboards/')) {
    return { status: 200, body: { dashboard: BOARDS.find((board) => board.uid === uid) } };
  }
  return result(query, { frames: [ROW] });
}

/** An answer to a query. */
const result = (query: Asked['query'], of: { frames?: unknown[]; error?: string }, status = 200): Reply => ({
  status,
  body: { results: { [query?.refId ?? '']: { status, ...of } } },
});

/** Runs the check against a Grafana that answers so. */
async function check(answer: (asked: Asked) => Reply, options: { token?: string; user?: string } = {}) {
  const seen: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      const body = text === '' ? undefined : (JSON.parse(text) as { queries: Asked['query'][] });
      const { authorization } = request.headers;
      const asked = { path: request.url ?? '', authorization, query: body?.queries[0] };
      seen.push(asked);
      const reply = answer(asked);
      response.writeHead(reply.status, { 'content-type': 'application/json' }).end(JSON.stringify(reply.body));
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  const url = `http://${options.user ? `${options.user}@` : ''}127.0.0.1:${port}`;
  try {
    const report = await checkGrafana({ url, ...(options.token ? { token: options.token } : {}) }, BOARDS, RANGE);
    return { report, seen };
  } finally {
    server.close();
  }
}

test('a Grafana that has everything is asked every query, with variables in and macros left to it', async () => {
  const { report, seen } = await check(healthy);
  assert.deepEqual(report.problems, []);
  assert.deepEqual(report.empty, []);
  assert.equal(report.boards, BOARDS.length);
  const queries = seen.flatMap(({ query }) => query ?? []);
  const targets = BOARDS.flatMap((board) => panelsOf(board).flatMap(targetsOf));
  assert.equal(report.queries, queries.length);
  assert.ok(queries.length >= targets.length, `${queries.length} queries`);
  for (const { rawSql = '', expr = '', datasource } of queries) {
    assert.ok(['mimir', 'clickhouse'].includes(datasource.uid), datasource.uid);
    assert.doesNotMatch(`${rawSql}${expr}`, /\$\{?(?!__)[a-z]/, 'a variable is left');
  }
  const isSent = (...parts: string[]) =>
    queries.some(({ rawSql = '', expr = '' }) => parts.every((part) => `${rawSql}${expr}`.includes(part)));
  assert.ok(isSent("service IN ('menu-api')", '$__timeFilter(minute)'));
  assert.ok(isSent('service=~"menu-api"', '[$__rate_interval]'));
  assert.ok(isSent('job=~".+"'));
});

describe('trouble is named', () => {
  const board = (path: string) => path === '/api/dashboards/uid/slo';
  const cases: [string, (asked: Asked) => Reply | undefined, RegExp][] = [
    [
      'a board that is missing',
      ({ path }) => (board(path) ? { status: 404, body: { message: 'Dashboard not found' } } : undefined),
      /^board slo: 404 Dashboard not found$/,
    ],
    [
      'a board of another release',
      ({ path }) => (board(path) ? { status: 200, body: { dashboard: { title: 'SLO', panels: [] } } } : undefined),
      /^board slo: it is "SLO" with 0 panels, not "SLO and alerts" with \d+$/,
    ],
    [
      'a data source of another type',
      ({ path }) => (path.endsWith('/mimir') ? { status: 200, body: { type: 'loki' } } : undefined),
      /^data source mimir: is of type loki; it has to be a prometheus$/,
    ],
    [
      'a token that is refused',
      ({ path }) => (path === '/api/health' ? undefined : { status: 401, body: { message: 'Unauthorized' } }),
      /^board slo: 401 Unauthorized$/,
    ],
    [
      'a query that is refused',
      ({ query }) => (query?.rawSql ? result(query, { error: 'Unknown column' }, 400) : undefined),
      /: 400 Unknown column$/,
    ],
    [
      'an error in an answer of 200',
      ({ query }) => (query?.expr ? result(query, { error: 'parse error', frames: [] }) : undefined),
      /: 200 parse error$/,
    ],
    ['an answer without frames', ({ query }) => (query ? result(query, {}) : undefined), /: 200, and no frames$/],
    ['an answer of a proxy', ({ query }) => (query ? { status: 502, body: 'Bad Gateway' } : undefined), /: 502 /],
  ];
  for (const [what, answer, expected] of cases) {
    test(what, async () => {
      const { report } = await check((asked) => answer(asked) ?? healthy(asked));
      assert.ok(
        report.problems.some((problem) => expected.test(problem)),
        inWords(report),
      );
    });
  }
});

test('a query without data is named and is no problem', async () => {
  const empty = { frames: [{ data: { values: [[]] } }] };
  const { report } = await check((asked) => (asked.query?.expr ? result(asked.query, empty) : healthy(asked)));
  assert.deepEqual(report.problems, []);
  assert.ok(report.empty.includes('slo, Apdex, query A'), inWords(report));
});

test('a token is a bearer, and a user in the address is asked as such', async () => {
  const sent = (seen: Asked[]) => [...new Set(seen.map(({ authorization }) => authorization))];
  assert.deepEqual(sent((await check(healthy, { token: 'secret' })).seen), ['Bearer secret']);
  assert.deepEqual(sent((await check(healthy, { user: 'admin:p%40ss' })).seen), [`Basic ${btoa('admin:p@ss')}`]);
});

test('what is no Grafana, or not there, is said in one sentence', async () => {
  await assert.rejects(
    check(() => ({ status: 404, body: {} })),
    /answers 404 to \/api\/health: is it Grafana\?/,
  );
  await assert.rejects(checkGrafana({ url: 'http://127.0.0.1:9' }, BOARDS, RANGE), /GET http:\/\/127\.0\.0\.1:9\/api/);
});

test('without an address it says that it was not run', async () => {
  const { GRAFANA_URL: _, ...env } = process.env;
  const cwd = `${import.meta.dirname}/..`;
  const run = promisify(execFile)(process.execPath, ['--import', 'tsx', 'test/grafana.ts'], { cwd, env });
  assert.match((await run).stdout, /^NOT RUN: GRAFANA_URL names no Grafana/);
});
