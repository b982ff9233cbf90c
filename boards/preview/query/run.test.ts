/** From a target to what is sent, and from an answer to frames. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { toFrame } from './clickhouse.ts';
import { ALL } from './context.ts';
import { contextOf, fakeHttp, variable } from './fixture.ts';
import { QueryError } from './http.ts';
import type { Panel } from './model.ts';
import { prepareTarget, runPanel, runTarget } from './run.ts';
import { intervalOf, parseRange, parseTime } from './time.ts';

const { http } = fakeHttp(() => ({ body: '' }));
const MIMIR = { type: 'prometheus', uid: '${datasource}' };
const CLICKHOUSE = { type: 'grafana-clickhouse-datasource', uid: '${ch}' };
const CHOSEN = [variable('datasource', ['mimir']), variable('ch', ['clickhouse'])];

test('PromQL gets variables as alternatives, escaped, and the windows that the step needs', () => {
  const route = variable('route', ['a.b', 'c'], { includeAll: true });
  const context = contextOf(
    http,
    ...CHOSEN,
    route,
    variable('job', [ALL], { allValue: '.+' }),
    variable('solo', ['x"y'], { multi: false }),
    variable('item', ["it's"], { multi: true }),
  );
  const expected: Array<[expr: string, becomes: string]> = [
    ['rate(x{route=~"$route"}[$__rate_interval])', 'rate(x{route=~"(a\\\\.b|c)"}[40s])'],
    ['x{job=~"$job",s="$solo"}', 'x{job=~".+",s="x\\"y"}'],
    ['x{item=~"$item"}', 'x{item=~"it\\\\\'s"}'],
    ['increase(x[$__range]) offset $__interval', 'increase(x[21600s]) offset 20s'],
    ['x > $__interval_ms / ${__range_s}', 'x > 20000 / 21600'],
  ];
  for (const [expr, becomes] of expected) {
    assert.equal(prepareTarget({ refId: 'A', datasource: MIMIR, expr }, context).text, becomes, expr);
  }
  const slow = prepareTarget({ refId: 'A', datasource: MIMIR, expr: '$__rate_interval', interval: '1m' }, context);
  assert.equal(slow.text, '4m', 'a minimum step of a minute asks for four of them');
});

test('SQL gets variables, the conditional filter and macros, in this order', () => {
  const sql =
    'SELECT $__timeInterval(t) AS time FROM logs WHERE $__timeFilter(t) AND $__conditionalAll(r IN ($route), $route) AND s IN ($service)';
  const context = contextOf(http, ...CHOSEN, variable('route', [ALL]), variable('service', ['a', 'b']));
  assert.equal(
    prepareTarget({ refId: 'A', datasource: CLICKHOUSE, rawSql: sql }, context).text,
    'SELECT toStartOfInterval(toDateTime(t), INTERVAL 20 second) AS time FROM logs ' +
      "WHERE t >= toDateTime(1796018400) AND t <= toDateTime(1796040000) AND 1=1 AND s IN ('a','b')",
  );
});

test('columns become fields of the types that the plugin gives them', () => {
  const types: Array<[type: string, value: unknown, kind: string, becomes: unknown]> = [
    ['UInt64', 18446744073709552000, 'number', 18446744073709552000],
    ['Nullable(Int64)', null, 'number', null],
    ['Decimal(10, 2)', 12.99, 'number', 12.99],
    ['Float64', 'nan', 'number', NaN],
    ['Float64', '-inf', 'number', -Infinity],
    ['LowCardinality(String)', 'x', 'string', 'x'],
    ['LowCardinality(Nullable(String))', null, 'string', null],
    ["Enum8('a' = 1)", 'a', 'string', 'a'],
    ['Bool', true, 'boolean', true],
    ['DateTime', '2026-11-30T12:00:00Z', 'time', Date.UTC(2026, 10, 30, 12)],
    ["DateTime64(9, 'UTC')", '2026-11-30T12:00:00.123456789Z', 'time', Date.UTC(2026, 10, 30, 12, 0, 0, 123)],
    ['Date', '2026-11-30', 'time', Date.UTC(2026, 10, 30)],
    ['Nullable(DateTime)', null, 'time', null],
    ['Map(String, String)', { a: 'b' }, 'other', { a: 'b' }],
    ['Array(Tuple(key String, value String))', [{ key: 'a', value: 'b' }], 'other', [{ key: 'a', value: 'b' }]],
    ['SimpleAggregateFunction(sum, UInt64)', 3, 'number', 3],
    ['UUID', '0', 'string', '0'],
  ];
  for (const [type, value, kind, becomes] of types) {
    const column = toFrame({ meta: [{ name: 'x', type }], data: [[value]] }, 'A').fields[0];
    assert.equal(column?.type, kind, type);
    assert.deepEqual(column?.values, [becomes], type);
  }
});

test('rows of a time series become one column for each of its names, with gaps', async () => {
  const answer = {
    meta: [
      { name: 'time', type: 'DateTime' },
      { name: 'route', type: 'String' },
      { name: 'n', type: 'UInt64' },
    ],
    data: [
      ['2026-11-30T11:00:00Z', 'list', 1],
      ['2026-11-30T11:00:00Z', 'item', 2],
      ['2026-11-30T11:01:00Z', 'list', 3],
    ],
  };
  const fake = fakeHttp(() => ({ body: answer }));
  const context = contextOf(fake.http, ...CHOSEN);
  const [wide] = await runTarget({ refId: 'A', datasource: CLICKHOUSE, rawSql: 'SELECT 1', format: 0 }, context);
  assert.deepEqual(
    wide?.fields.map(({ name, labels, values }) => [name, labels?.['route'], values]),
    [
      ['time', undefined, [Date.UTC(2026, 10, 30, 11), Date.UTC(2026, 10, 30, 11, 1)]],
      ['n', 'item', [2, null]],
      ['n', 'list', [1, 3]],
    ],
  );
  const [table] = await runTarget({ refId: 'A', datasource: CLICKHOUSE, rawSql: 'SELECT 1', format: 1 }, context);
  assert.equal(table?.fields.length, 3, 'a table stays as it is');
  const [request] = fake.seen;
  assert.equal(request?.url.searchParams.get('database'), 'otel');
  assert.equal(request?.url.searchParams.get('default_format'), 'JSONCompact');

  answer.data.reverse();
  const unsorted = runTarget({ refId: 'A', datasource: CLICKHOUSE, rawSql: 'SELECT 1', format: 0 }, context, {
    id: 7,
    title: 'Views',
  });
  await assert.rejects(unsorted, /panel 7 "Views", query A: rows of a time series must be sorted/);
});

test('a failed query names its panel and what was sent, and leaves the others alone', async () => {
  const fake = fakeHttp(({ url, body }) => {
    if (url.host === 'clickhouse.test') {
      return body.includes('bad')
        ? { status: 404, body: 'Code: 60. DB::Exception: no table' }
        : { body: { meta: [{ name: 'n', type: 'UInt8' }], data: [[1]] } };
    }
    return { status: 400, body: { status: 'error', error: 'parse error at char 3' } };
  });
  const panel: Panel = {
    id: 4,
    type: 'table',
    title: 'Items',
    gridPos: { x: 0, y: 0, w: 1, h: 1 },
    targets: [
      { refId: 'A', datasource: CLICKHOUSE, rawSql: 'SELECT bad', format: 1 },
      { refId: 'B', datasource: CLICKHOUSE, rawSql: 'SELECT 1', format: 1 },
      { refId: 'C', datasource: MIMIR, expr: 'up)' },
      { refId: 'D', datasource: { type: 'loki' }, expr: '{}' },
      { refId: 'E', datasource: MIMIR, expr: 'up', hide: true },
    ],
  };
  const { series, errors } = await runPanel(panel, contextOf(fake.http, ...CHOSEN));
  assert.deepEqual(
    series.map((each) => each.refId),
    ['B'],
  );
  assert.ok(errors.every((error) => error instanceof QueryError));
  assert.deepEqual(
    errors.map((error) => error.message),
    [
      'panel 4 "Items", query A: Code: 60. DB::Exception: no table',
      'panel 4 "Items", query C: parse error at char 3',
      'panel 4 "Items", query D: data source loki not found',
    ],
  );
  assert.equal(errors[0]?.sent, 'SELECT bad');
});

test('a range query is aligned to its step, and series are named by their legend', async () => {
  const fake = fakeHttp(({ url }) => ({
    body: {
      status: 'success',
      data: url.pathname.endsWith('query_range')
        ? {
            resultType: 'matrix',
            result: [
              {
                metric: { route: 'list', __name__: 'x' },
                values: [
                  [1796018400, '1'],
                  [1796018420, 'NaN'],
                ],
              },
            ],
          }
        : { resultType: 'vector', result: [{ metric: { route: 'list' }, value: [1796040000, '+Inf'] }] },
    },
  }));
  const context = contextOf(fake.http, ...CHOSEN);
  const [series] = await runTarget(
    { refId: 'A', datasource: MIMIR, expr: 'x', legendFormat: '{{route}} now' },
    context,
  );
  assert.equal(series?.fields[1]?.config.displayNameFromDS, 'list now');
  assert.deepEqual(series?.fields[1]?.values, [1, NaN]);
  assert.equal(series?.fields[0]?.config.interval, 20_000);
  const [request] = fake.seen;
  assert.equal(request?.headers['x-scope-orgid'], 'demo');
  assert.deepEqual(
    ['start', 'end', 'step'].map((key) => request?.url.searchParams.get(key)),
    ['1796018400', '1796040000', '20'],
  );

  const [table] = await runTarget(
    { refId: 'B', datasource: MIMIR, expr: 'x', instant: true, format: 'table' },
    context,
  );
  assert.deepEqual(
    table?.fields.map(({ name, values }) => [name, values]),
    [
      ['Time', [1796040000000]],
      ['route', ['list']],
      ['Value', [Infinity]],
    ],
  );
  const [auto] = await runTarget({ refId: 'C', datasource: MIMIR, expr: 'x', legendFormat: '__auto' }, context);
  assert.equal(auto?.fields[1]?.config.displayNameFromDS, undefined);
});

test('cumulative buckets become counts for each bucket, lowest first', async () => {
  const series = (le: string, ...counts: string[]) => ({
    metric: { le },
    values: counts.map((count, index) => [1796018400 + 20 * index, count]),
  });
  const fake = fakeHttp(() => ({
    body: {
      status: 'success',
      data: {
        resultType: 'matrix',
        result: [series('+Inf', '10', '4'), series('0.1', '2', '1'), series('0.5', '7', '4')],
      },
    },
  }));
  const [heatmap] = await runTarget(
    { refId: 'A', datasource: MIMIR, expr: 'x', format: 'heatmap' },
    contextOf(fake.http, ...CHOSEN),
  );
  assert.deepEqual(
    heatmap?.fields.slice(1).map(({ name, values }) => [name, values]),
    [
      ['0.1', [2, 1]],
      ['0.5', [5, 3]],
      ['+Inf', [3, 0]],
    ],
  );
});

test('intervals are those that Grafana chooses', () => {
  const require = createRequire(import.meta.url);
  const { rangeUtil } = require('@grafana/data') as typeof import('@grafana/data');
  for (let length = 1; length < 4e9; length = Math.ceil(length * 1.07)) {
    const ours = intervalOf({ from: 0, to: length * 500, raw: { from: '', to: '' } }, 500, 1);
    assert.equal(ours, rangeUtil.roundInterval(length), `${length} ms for each point`);
  }
});

test('relative times are read as Grafana reads them', () => {
  const now = Date.UTC(2026, 10, 30, 12, 34, 56);
  const expected: Array<[text: string, from: string, to: string]> = [
    ['now', '2026-11-30T12:34:56.000Z', '2026-11-30T12:34:56.000Z'],
    ['now-6h', '2026-11-30T06:34:56.000Z', '2026-11-30T06:34:56.000Z'],
    ['now/d', '2026-11-30T00:00:00.000Z', '2026-11-30T23:59:59.999Z'],
    ['now-1d/d', '2026-11-29T00:00:00.000Z', '2026-11-29T23:59:59.999Z'],
    ['now/w', '2026-11-30T00:00:00.000Z', '2026-12-06T23:59:59.999Z'],
    ['now-1M/M', '2026-10-01T00:00:00.000Z', '2026-10-31T23:59:59.999Z'],
    ['1796018400000', '2026-11-30T06:00:00.000Z', '2026-11-30T06:00:00.000Z'],
    ['2026-11-30 06:00:00', '2026-11-30T06:00:00.000Z', '2026-11-30T06:00:00.000Z'],
  ];
  for (const [text, from, to] of expected) {
    assert.equal(new Date(parseTime(text, now)).toISOString(), from, text);
    assert.equal(new Date(parseTime(text, now, true)).toISOString(), to, text);
  }
  assert.throws(() => parseRange('now-6x', 'now'), /not understood/);
});
