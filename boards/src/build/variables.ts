/** Variables of the boards. None takes its values from a visitor's text. */
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import {
  CustomVariableBuilder,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  type VariableModel,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';

import { CLICKHOUSE, MIMIR } from './targets.ts';

type Variable = Builder<VariableModel>;
const ALL = { selected: true, text: ['All'], value: ['$__all'] };

/** The two stores. Their uids are fixed, so that a board finds them wherever it is provisioned. */
export function stores(): Variable[] {
  return [
    new DatasourceVariableBuilder('datasource')
      .label('Data Source')
      .type('prometheus')
      .current({ selected: true, text: 'Mimir', value: 'mimir' }),
    new DatasourceVariableBuilder('ch')
      .label('ClickHouse')
      .type('grafana-clickhouse-datasource')
      .current({ selected: true, text: 'ClickHouse', value: 'clickhouse' }),
  ];
}

function ofClickHouse(name: string, label: string, query: string): QueryVariableBuilder {
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(CLICKHOUSE)
    .query(query)
    .definition(query)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .current(ALL);
}

/** Services that have request lines in the range. */
export const service = (): Variable =>
  ofClickHouse(
    'service',
    'Service',
    'SELECT DISTINCT service FROM menu_requests WHERE $__timeFilter(minute) ORDER BY service LIMIT 100',
  );

/** Grafana quotes quotes and leaves a backslash, which would take the closing quote away: here each is two. */
const escaped = (column: string) => `replaceAll(${column}, '\\\\', '\\\\\\\\')`;

/** Restaurants of the menu, as of any time, and `unknown` for items that the menu did not have. */
export const restaurant = (): Variable =>
  ofClickHouse(
    'restaurant',
    'Restaurant',
    `SELECT DISTINCT ${escaped('restaurant')} FROM menu_items UNION ALL SELECT 'unknown' LIMIT 1000`,
  );

/** Categories, likewise. */
export const category = (): Variable =>
  ofClickHouse(
    'category',
    'Category',
    `SELECT DISTINCT ${escaped('category')} FROM menu_items UNION ALL SELECT 'unknown' LIMIT 1000`,
  );

/** Processes of the pipeline, by a metric that all of them have. */
export function processes(): Variable[] {
  const labels: [string, string][] = [
    ['job', 'Program'],
    ['instance', 'Instance'],
  ];
  return labels.map(([name, label]) =>
    new QueryVariableBuilder(name)
      .label(label)
      .datasource(MIMIR)
      .query({ query: `label_values(ready_condition, ${name})`, refId: `variable-${name}` })
      .definition(`label_values(ready_condition, ${name})`)
      .refresh(VariableRefresh.OnTimeRangeChanged)
      .sort(VariableSort.AlphabeticalAsc)
      .multi(true)
      .includeAll(true)
      .allValue('.+')
      .current(ALL),
  );
}

/** Markets of the order flow. */
export const market = (): Variable => {
  const query = 'label_values(orders_charged_total, market)';
  return new QueryVariableBuilder('market')
    .label('Market')
    .datasource(MIMIR)
    .query({ query, refId: 'variable-market' })
    .definition(query)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .allValue('.+')
    .current(ALL);
};

/** The time T of Apdex. Its value names two bounds of the histogram, T and 4 T, which the expression halves. */
export const apdexT = (): Variable =>
  new CustomVariableBuilder('apdex_t')
    .label('Apdex T')
    .values('0.25 ms : 0.00025|0.001, 2.5 ms : 0.0025|0.01, 25 ms : 0.025|0.1, 250 ms : 0.25|1')
    .current({ selected: true, text: '25 ms', value: '0.025|0.1' });

/** Of 100 item views, how many are assumed to become an order. */
export const orderRate = (): Variable =>
  new CustomVariableBuilder('order_rate')
    .label('Orders per 100 item views (assumed)')
    .values('1,2,3,5,10')
    .current({ selected: true, text: '3', value: '3' });
