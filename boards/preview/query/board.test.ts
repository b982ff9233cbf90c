/** Taking a dashboard apart: panels, variables, annotations, alerts, links, addresses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseAddress } from './address.ts';
import { alertRules } from './alerts.ts';
import { annotationQueries, runAnnotations, showsAnnotation } from './annotations.ts';
import { ALL, type Option } from './context.ts';
import { contextOf, fakeHttp, NOON, SOURCES, variable } from './fixture.ts';
import { field, frame } from './frames.ts';
import { boardLink, dataLink, dataLinkTitle, safeAddress } from './links.ts';
import {
  loadDashboard,
  panelsOf,
  sectionsOf,
  targetsOf,
  type Dashboard,
  type Panel,
  type VariableModel,
} from './model.ts';
import type { PrometheusSource } from './prometheus.ts';
import { filterOptions, resolveVariables, sortOptions, splitCustom } from './variables.ts';

const at = (y: number, x = 0) => ({ gridPos: { x, y, w: 12, h: 4 } });
const panel = (id: number, type: string, rest: Partial<Panel> = {}): Panel => ({ id, type, ...at(id), ...rest });

function board(rest: Partial<Dashboard>): Dashboard {
  return loadDashboard({ uid: 'b', title: 'B', panels: [], ...rest });
}

test('panels are found in rows, open and collapsed', () => {
  const rows = board({
    panels: [
      panel(1, 'stat', { targets: [{ refId: 'A', hide: true }, { refId: '' }] }),
      panel(2, 'row', { title: 'Open' }),
      panel(3, 'table'),
      panel(4, 'row', { title: 'Closed', collapsed: true, panels: [panel(5, 'logs')] }),
    ],
  });
  assert.deepEqual(
    panelsOf(rows).map(({ id }) => id),
    [1, 3, 5],
  );
  assert.deepEqual(
    sectionsOf(rows).map(({ row, panels }) => [row?.title, panels.map(({ id }) => id)]),
    [
      [undefined, [1]],
      ['Open', [3]],
      ['Closed', [5]],
    ],
  );
  assert.deepEqual(
    targetsOf(rows.panels[0] as Panel).map(({ refId }) => refId),
    ['A'],
  );
  assert.throws(
    () => loadDashboard('{"uid":"x","title":"y","panels":[{"id":3,"title":"Lost"}]}'),
    /panel 3 \(Lost\) has no `gridPos`/,
  );
});

test('variables are resolved after those that they use, and the address wins over what was saved', async () => {
  const list: VariableModel[] = [
    {
      name: 'route',
      type: 'query',
      datasource: { type: 'prometheus', uid: '${datasource}' },
      query: { query: 'label_values(x{service=~"$service"}, route)' },
      multi: true,
      includeAll: true,
      allValue: '.+',
      current: { value: ['$__all'] },
    },
    {
      name: 'service',
      type: 'query',
      datasource: { type: 'grafana-clickhouse-datasource', uid: '${ch}' },
      query: 'SELECT id, name FROM s WHERE $__timeFilter(t)',
      current: { value: 'gone' },
    },
    { name: 'datasource', type: 'datasource', query: 'prometheus' },
    { name: 'ch', type: 'datasource', query: 'grafana-clickhouse-datasource' },
    { name: 'band', type: 'custom', query: 'low, Mid : 5, high', current: { value: '5' } },
    { name: 'rate', type: 'textbox', query: '3', current: { value: '' } },
    { name: 'step', type: 'interval', query: '1m,5m', current: { value: '5m' } },
    { name: 'fixed', type: 'constant', query: 'c' },
    { name: 'ignored', type: 'adhoc' },
  ];
  const fake = fakeHttp(({ url }) =>
    url.host === 'clickhouse.test'
      ? {
          body: {
            meta: [
              { name: 'id', type: 'String' },
              { name: 'name', type: 'String' },
            ],
            data: [
              ['menu', 'Menu API'],
              ['cart', 'Cart'],
            ],
          },
        }
      : { body: { status: 'success', data: ['list', 'item'] } },
  );
  const { variables: _, ...context } = contextOf(fake.http);
  const { variables, errors } = await resolveVariables(board({ templating: { list } }), context, {
    rate: ['4'],
    band: ['high'],
  });
  assert.deepEqual(errors, []);
  assert.deepEqual(
    [...variables].map(([name, { values }]) => [name, values]),
    [
      ['route', [ALL]],
      ['service', ['menu']],
      ['datasource', ['mimir']],
      ['ch', ['clickhouse']],
      ['band', ['high']],
      ['rate', ['4']],
      ['step', ['5m']],
      ['fixed', ['c']],
    ],
  );
  assert.deepEqual(variables.get('service')?.options[0], { value: 'menu', text: 'Menu API' });
  const labels = fake.seen.find(({ url }) => url.pathname.endsWith('/label/route/values'));
  assert.equal(labels?.url.searchParams.get('match[]'), 'x{service=~"menu"}');
});

test('a variable whose store is away is named and leaves the others alone', async () => {
  const fake = fakeHttp(() => ({ status: 503, body: 'starting' }));
  const { variables: _, ...context } = contextOf(fake.http);
  const list: VariableModel[] = [
    { name: 'route', type: 'query', datasource: { uid: 'mimir' }, query: 'label_values(route)', includeAll: true },
    { name: 'band', type: 'custom', query: 'a,b' },
  ];
  const { variables, errors } = await resolveVariables(board({ templating: { list } }), context);
  assert.deepEqual(
    errors.map(({ message }) => message),
    ['variable route, query options: starting'],
  );
  assert.deepEqual(variables.get('band')?.values, ['a']);
});

test('choices are split, filtered and sorted as a variable says', () => {
  const texts = (options: Option[]) => options.map(({ text, value }) => (text === value ? text : `${text}=${value}`));
  const of = (...all: string[]) => all.map((text) => ({ text, value: text }));
  assert.deepEqual(texts(splitCustom('a, b\\,c,Long name : 3, http://x')), ['a', 'b,c', 'Long name=3', 'http://x']);
  assert.deepEqual(texts(filterOptions(of('x-1', 'y-2', 'x-1'), '/^x-(\\d)$/')), ['1']);
  assert.deepEqual(texts(filterOptions(of('x-1', 'y-2'), '/(?<text>\\w)-(?<value>\\d)/')), ['x=1', 'y=2']);
  assert.deepEqual(texts(sortOptions(of('b10', 'B9', 'a1'), 1)), ['B9', 'a1', 'b10']);
  assert.deepEqual(texts(sortOptions(of('b10', 'B9', 'a1'), 4)), ['b10', 'B9', 'a1']);
  assert.deepEqual(texts(sortOptions(of('b10', 'b9', 'a1'), 5)), ['a1', 'b10', 'b9']);
  assert.deepEqual(texts(sortOptions(of('b10', 'b9', 'a1'), 7)), ['a1', 'b9', 'b10']);
});

test('annotations come from rows and from series, and panels can be left out', async () => {
  const list = [
    { name: 'stored', builtIn: 1, datasource: { uid: '-- Grafana --' } },
    {
      name: 'Restarts',
      enable: true,
      iconColor: 'blue',
      datasource: { uid: 'clickhouse' },
      filter: { exclude: true, ids: [9] },
      target: { refId: 'Anno', rawSql: 'SELECT 1' },
    },
    {
      name: 'Firing',
      enable: true,
      datasource: { uid: 'mimir' },
      step: '60s',
      titleFormat: '{{alertname}}',
      target: { refId: 'Anno', expr: 'ALERTS' },
    },
    { name: 'Broken', enable: true, datasource: { uid: 'nowhere' }, target: { refId: 'Anno', rawSql: 'SELECT 1' } },
  ];
  const fake = fakeHttp(({ url }) =>
    url.host === 'clickhouse.test'
      ? {
          body: {
            meta: [
              { name: 'time', type: 'DateTime' },
              { name: 'timeEnd', type: 'Nullable(DateTime)' },
              { name: 'text', type: 'String' },
              { name: 'tags', type: 'String' },
            ],
            data: [
              ['2026-11-30T11:00:00Z', '2026-11-30T11:05:00Z', 'outage', 'a, b'],
              ['2026-11-30T10:00:00Z', null, 'restart', ''],
            ],
          },
        }
      : {
          body: {
            status: 'success',
            data: {
              resultType: 'matrix',
              result: [
                {
                  metric: { alertname: 'Burn' },
                  values: [
                    [0, '1'],
                    [60, '1'],
                    [120, '0'],
                    [180, '1'],
                  ],
                },
              ],
            },
          },
        },
  );
  const models = annotationQueries(board({ annotations: { list } }));
  const { annotations, errors } = await runAnnotations(models, contextOf(fake.http));
  assert.deepEqual(
    errors.map(({ message }) => message),
    ['annotation "Broken", query Anno: data source nowhere not found'],
  );
  assert.deepEqual(
    annotations.map(({ source, time, timeEnd, title, text, tags }) => ({ source, time, timeEnd, title, text, tags })),
    [
      { source: 'Firing', time: 0, timeEnd: 60_000, title: 'Burn', text: '', tags: [] },
      { source: 'Firing', time: 180_000, timeEnd: undefined, title: 'Burn', text: '', tags: [] },
      { source: 'Restarts', time: NOON - 7_200_000, timeEnd: undefined, title: undefined, text: 'restart', tags: [] },
      {
        source: 'Restarts',
        time: NOON - 3_600_000,
        timeEnd: NOON - 3_300_000,
        title: undefined,
        text: 'outage',
        tags: ['a', 'b'],
      },
    ],
  );
  assert.deepEqual(
    [8, 9].map((id) => annotations.filter((each) => showsAnnotation(id, each)).length),
    [4, 2],
  );
});

test('alert rules are listed with the worst first', async () => {
  const rule = (name: string, state: string, rest = {}) => ({ type: 'alerting', name, state, health: 'ok', ...rest });
  const fake = fakeHttp(() => ({
    body: {
      status: 'success',
      data: {
        groups: [
          {
            name: 'slo',
            rules: [rule('Quiet', 'inactive'), rule('Later', 'pending'), { type: 'recording', name: 'r' }],
          },
          {
            name: 'lag',
            rules: [
              rule('Burn', 'firing', {
                alerts: [{ state: 'firing', labels: { route: 'list' }, activeAt: '2026-11-30T11:00:00Z', value: '9' }],
              }),
              rule('Odd', 'inactive', { health: 'err', lastError: 'x' }),
            ],
          },
        ],
      },
    },
  }));
  const rules = await alertRules(SOURCES[0] as PrometheusSource, fake.http);
  assert.deepEqual(
    rules.map(({ name, state, since }) => [name, state, since]),
    [
      ['Burn', 'firing', NOON - 3_600_000],
      ['Odd', 'error', undefined],
      ['Later', 'pending', undefined],
      ['Quiet', 'inactive', undefined],
    ],
  );
});

test('a link reads its row, the range and the variables, and encodes what it reads', () => {
  const context = contextOf(
    fakeHttp(() => ({ body: '' })).http,
    variable('route', ['list', 'item']),
    variable('service', ['menu']),
  );
  const data = frame('A', [
    field('trace id', 'string', ['ab', 'c d']),
    field('took', 'number', [1.5, 2.5], {}, { route: 'list', le: '+Inf' }),
  ]);
  const cell = { frame: data, field: data.fields[1]!, rowIndex: 1 };
  const expected: Array<[url: string, becomes: string]> = [
    ['/d/service?var-trace_id=${__data.fields["trace id"]}', '/d/service?var-trace_id=c%20d'],
    ['/x?${__data.fields[0]}=${__value.raw}', '/x?c%20d=2.5'],
    [
      '/x?l=${__field.labels.route}&b=${__field.labels.le:percentencode}&n=${__field.name}',
      '/x?l=list&b=%2BInf&n=took',
    ],
    ['/d/a?${__url_time_range}&${service:queryparam}', '/d/a?from=now-6h&to=now&var-service=menu'],
    ['/d/a?${__all_variables}', '/d/a?var-route=list&var-route=item&var-service=menu'],
    ['/d/a?from=${__from}', '/d/a?from=1796018400000'],
    ['javascript:alert(1)', 'about:blank'],
    [' java\nscript:alert(1)', 'about:blank'],
  ];
  for (const [url, becomes] of expected) {
    assert.equal(dataLink(url, cell, context), becomes, url);
  }
  assert.equal(
    dataLinkTitle('Trace ${__data.fields["trace id"]} of ${__field.labels.route}', cell, context),
    'Trace c d of list',
  );
  assert.equal(
    boardLink({ title: 'SLO', keepTime: true, includeVars: true }, '/d/slo?x=1', context),
    '/d/slo?x=1&from=now-6h&to=now&var-route=list&var-route=item&var-service=menu',
  );
  assert.equal(safeAddress('data:text/html,x'), 'about:blank');
});

test('an address is read and written without loss', () => {
  const state = parseAddress(
    '?from=now-1h&to=now&viewPanel=panel-12&kiosk&refresh=30s&theme=light&var-route=a%26b&var-route=c&orgId=1',
  );
  assert.deepEqual(state, {
    from: 'now-1h',
    to: 'now',
    refresh: '30s',
    viewPanel: 12,
    kiosk: true,
    theme: 'light',
    chosen: { route: ['a&b', 'c'] },
  });
  const written = formatAddress(state, new Map([['route', variable('route', ['a&b', 'c'])]]));
  assert.deepEqual(parseAddress(written), state);
});
