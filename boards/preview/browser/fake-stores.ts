/**
 * Made-up stores for the browser test: they answer the sample board's queries, and what was asked can be read back.
 *
 * They check how the page draws, nothing of SQL or PromQL.
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Stores that run on loopback. */
export interface FakeStores {
  url: string;
  /** Statements and addresses, in the order in which they came. */
  asked: string[];
  /** Queries that match this are answered with an error. */
  fail: { pattern?: RegExp };
  close: () => Promise<void>;
}

type Row = Array<string | number | null | object>;

/** Starts both stores on one port. */
export async function startFakeStores(): Promise<FakeStores> {
  const asked: string[] = [];
  const fail: FakeStores['fail'] = {};
  const server = createServer((request, response) => {
    void read(request).then((body) => {
      const isMimir = (request.url ?? '').startsWith('/prometheus');
      const text = isMimir ? decodeURIComponent((request.url ?? '').replaceAll('+', ' ')) : body;
      asked.push(`${request.method} ${isMimir ? text : `${request.url} ${body}`}`);
      const isBroken = text.includes('nowhere') || fail.pattern?.test(text);
      const answer = isBroken
        ? 'Code: 60. DB::Exception: no such table'
        : JSON.stringify(isMimir ? mimir(text) : clickhouse(text));
      response.writeHead(isBroken ? 404 : 200, { 'content-type': isBroken ? 'text/plain' : 'application/json' });
      response.end(answer);
    });
  });
  await new Promise<void>((started) => server.listen(0, '127.0.0.1', started));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    fail,
    close: () =>
      new Promise((ended) => {
        server.close(() => ended());
        server.closeAllConnections();
      }),
  };
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) {
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** An answer in the format JSONCompact; a column is `name type`. */
function table(columns: string[], rows: Row[]) {
  const meta = columns.map((column) => ({
    name: column.slice(0, column.indexOf(' ')),
    type: column.slice(column.indexOf(' ') + 1),
  }));
  return { meta, data: rows };
}

function clickhouse(sql: string) {
  const [from = 0, to = 3600] = [...sql.matchAll(/toDateTime\((\d{9,})\)/g)].map((match) => Number(match[1]));
  const end = Math.max(from, to);
  const start = Math.min(from, to);
  const time = (seconds: number) => new Date(seconds * 1000).toISOString();
  const times = Array.from({ length: 12 }, (_, index) => start + Math.floor(((end - start) * index) / 11));
  const answers: Array<[pattern: RegExp, answer: () => object]> = [
    [
      /AS success/,
      () =>
        table(
          ['time DateTime', 'success Float64'],
          times.map((at, index) => [time(at), index === 11 ? 0.9876 : 0.99]),
        ),
    ],
    [/AS affected/, () => table(['affected UInt8'], [[0]])],
    [/WHERE 0/, () => table(['n UInt8'], [])],
    [
      /AS requests/,
      () =>
        table(
          ['time DateTime', 'route String', 'requests Float64'],
          times.flatMap((at, index) =>
            routes(sql).map((route) => [time(at), route, (route === 'list' ? 40 : 20) + index]),
          ),
        ),
    ],
    [
      /`5xx`/,
      () =>
        table(
          ['time DateTime', '2xx UInt64', '5xx UInt64'],
          times.map((at, index) => [time(at), 90, index % 4]),
        ),
    ],
    [
      /AS bad/,
      () =>
        table(
          ['time DateTime', 'route String', 'bad UInt8'],
          times.flatMap((at, index) => ['item', 'list'].map((route) => [time(at), route, index > 8 ? 1 : 0])),
        ),
    ],
    [
      /AS price/,
      () =>
        table(
          ['id String', 'item String', 'price Decimal(9,2)', 'views UInt16', 'change Float64'],
          [
            ['1', 'Margherita Pizza', 12.99, 290, 0.12],
            ['5', 'Sushi Platter', 24.99, 420, -0.04],
          ],
        ),
    ],
    [
      /`404`/,
      () =>
        table(
          ['route String', '200 UInt16', '404 UInt16', '500 UInt16'],
          [
            ['list', 900, 0, 100],
            ['item', 1400, 220, 0],
          ],
        ),
    ],
    [
      /AS restaurant/,
      () =>
        table(
          ['restaurant String', 'views UInt16'],
          [
            ['Sakura Sushi', 420],
            ['Thai Palace', 310],
          ],
        ),
    ],
    [
      /AS body/,
      () =>
        table(
          ['timestamp DateTime64(3)', 'body String', 'level String', 'labels Map(String, String)', 'traceID String'],
          [[time(end), 'Failed to list <b>menu</b> items', 'ERROR', { status_code: '500' }, 'ab12']],
        ),
    ],
    [
      /AS spanID/,
      () =>
        table(
          [
            'traceID String',
            'spanID String',
            'parentSpanID String',
            'serviceName String',
            'operationName String',
            'startTime DateTime64(6)',
            'duration Float64',
            'tags Array(Map(String, String))',
            'statusCode String',
          ],
          [
            ['a1', '1', '', 'gateway', 'GET /api/menu', time(end), 48.2, [], 'Unset'],
            ['a1', '2', '1', 'menu', 'list_items', time(end), 41, [{ key: 'db', value: 'x' }], 'Error'],
          ],
        ),
    ],
    [
      /'restart of menu'/,
      () =>
        table(
          ['time DateTime', 'timeEnd Nullable(DateTime)', 'text String', 'tags String'],
          [[time(end - 600), null, 'restart of menu', 'restart']],
        ),
    ],
    [/AS route ORDER BY route/, () => table(['route String'], [['item'], ['list']])],
  ];
  return answers.find(([pattern]) => pattern.test(sql))?.[1]() ?? table(['nothing String'], []);
}

function routes(sql: string): string[] {
  const chosen = /route IN \(([^)]*)\)/.exec(sql)?.[1];
  return ['item', 'list'].filter((route) => chosen === undefined || chosen.includes(`'${route}'`));
}

function mimir(url: string): object {
  const parameters = new URL(url, 'http://fake').searchParams;
  const [start, end, step] = ['start', 'end', 'step'].map((key) => Number(parameters.get(key)));
  const success = (data: unknown) => ({ status: 'success', data });
  const times = Array.from(
    { length: 30 },
    (_, index) => (start ?? 0) + index * Math.max(step ?? 1, Math.floor(((end ?? 1) - (start ?? 0)) / 30)),
  );
  if (url.includes('/rules')) {
    const alert = {
      state: 'firing',
      labels: { alertname: 'MenuBurn', severity: 'page' },
      annotations: { summary: 'the menu fails' },
      activeAt: new Date(Date.now() - 3_600_000).toISOString(),
      value: '1',
    };
    const rule = {
      type: 'alerting',
      name: 'MenuBurn',
      state: 'firing',
      health: 'ok',
      labels: { severity: 'page' },
      annotations: { runbook_url: 'https://example.org/runbook#menuburn' },
      alerts: [alert],
    };
    return success({
      groups: [{ name: 'slo', rules: [rule, { type: 'alerting', name: 'Quiet', state: 'inactive', health: 'ok' }] }],
    });
  }
  if (url.includes('/query_exemplars')) {
    return success([
      {
        seriesLabels: { route: 'list' },
        exemplars: [{ labels: { trace_id: 'cafe01' }, value: '1.2', timestamp: times[15] }],
      },
    ]);
  }
  if (url.includes('/query_range')) {
    const les = url.includes('label_replace') ? ['0.01', '0.1', '+Inf'] : [''];
    return success({
      resultType: 'matrix',
      result: les.map((le, index) => ({
        metric: le ? { le } : {},
        values: times.map((at, row) => [at, String(le ? 10 + index * (10 + (row % 4) * 5) : 1 + 0.1 * (row % 5))]),
      })),
    });
  }
  return success({
    resultType: 'vector',
    result: [{ metric: {}, value: [Number(parameters.get('time') ?? 0), '0.87'] }],
  });
}
