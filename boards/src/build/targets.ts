/** Targets of panels, for the two data sources that every board has as variables. */
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';

export const MIMIR = { type: 'prometheus', uid: '${datasource}' };
export const CLICKHOUSE = { type: 'grafana-clickhouse-datasource', uid: '${ch}' };
export const MIXED = { type: 'datasource', uid: '-- Mixed --' };

/** The release of the ClickHouse plugin whose query model is written. */
const CLICKHOUSE_PLUGIN = '4.11.2';

/** As the plugin numbers them. */
const FORMATS = { timeseries: 0, table: 1, logs: 2, traces: 3 } as const;
export type ClickHouseFormat = keyof typeof FORMATS;

/** What the ClickHouse plugin keeps of a query that is written as SQL. The SDK has no builder of it. */
interface ClickHouseQuery extends Dataquery {
  datasource: typeof CLICKHOUSE;
  editorType: 'sql';
  format: number;
  pluginVersion: string;
  queryType: ClickHouseFormat;
  rawSql: string;
  refId: string;
  hide?: boolean;
}

/** A query of ClickHouse. */
export function ch(rawSql: string, format: ClickHouseFormat = 'table', refId = 'A'): Builder<Dataquery> {
  const query: ClickHouseQuery = {
    datasource: CLICKHOUSE,
    editorType: 'sql',
    format: FORMATS[format],
    pluginVersion: CLICKHOUSE_PLUGIN,
    queryType: format,
    rawSql,
    refId,
    _implementsDataqueryVariant: () => {},
  };
  return { build: () => query };
}

/** The value of an expression at the end of the time range. */
export function instant(expression: string, legend = '', refId = 'A'): DataqueryBuilder {
  return query(expression, legend, refId).instant();
}

/** The value of an expression over the time range. */
export function range(expression: string, legend: string, refId = 'A'): DataqueryBuilder {
  return query(expression, legend, refId).range();
}

/** The series at the end of the time range as rows of a table. */
export function rows(expression: string, refId = 'A'): DataqueryBuilder {
  return query(expression, '', refId).instant().format(PromQueryFormat.Table);
}

/** The buckets of a histogram over the time range. */
export function buckets(expression: string, refId = 'A'): DataqueryBuilder {
  return query(expression, '{{le}}', refId).range().format(PromQueryFormat.Heatmap);
}

function query(expression: string, legend: string, refId: string): DataqueryBuilder {
  return new DataqueryBuilder().datasource(MIMIR).expr(expression).legendFormat(legend).refId(refId);
}
