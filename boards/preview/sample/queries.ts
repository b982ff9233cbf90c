/**
 * Queries of the sample board as objects that the Foundation SDK takes.
 */
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';

/** The plugin's formats of a ClickHouse query. */
export const FORMAT = { timeseries: 0, table: 1, logs: 2, traces: 3 };

/** A ClickHouse query; the SDK has no builder for it. */
export function sql(refId: string, rawSql: string, format = FORMAT.table): Builder<Dataquery> {
  const query = {
    refId,
    datasource: { type: 'grafana-clickhouse-datasource', uid: '${ch}' },
    editorType: 'sql',
    rawSql,
    format,
    pluginVersion: '4.0.0',
  };
  return { build: () => ({ ...query, _implementsDataqueryVariant: () => undefined }) as unknown as Dataquery };
}

/** A Prometheus query. */
export function promql(refId: string, expr: string, rest: Record<string, unknown> = {}): Builder<Dataquery> {
  const query = { refId, datasource: { type: 'prometheus', uid: '${datasource}' }, expr, range: true, ...rest };
  return { build: () => ({ ...query, _implementsDataqueryVariant: () => undefined }) as unknown as Dataquery };
}

/** A column of times over the range, one for each minute, newest last. */
export const MINUTES = `arrayJoin(range(toUInt32($__fromTime), toUInt32($__toTime), 60))`;
