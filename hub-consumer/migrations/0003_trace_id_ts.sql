-- When a trace began and ended, so that a search by trace id reads days and not a year. Rows of a trace are merged by min and max:
-- writing a span's row again changes nothing.
CREATE TABLE IF NOT EXISTS {database}.{traces_table}_trace_id_ts {on_cluster}
(
    `TraceId` String CODEC(ZSTD(1)),
    `Start` SimpleAggregateFunction(min, DateTime) CODEC(ZSTD(1)),
    `End` SimpleAggregateFunction(max, DateTime) CODEC(ZSTD(1))
)
ENGINE = {aggregating_engine}
PARTITION BY toStartOfWeek(Start)
ORDER BY TraceId
TTL Start + toIntervalDay({retention_days}) DELETE
SETTINGS {storage_policy}
    index_granularity = 8192,
    ttl_only_drop_parts = 1,
    non_replicated_deduplication_window = 1000000,
    replicated_deduplication_window = 1000000,
    replicated_deduplication_window_seconds = 604800;

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.{traces_table}_trace_id_ts_mv {on_cluster}
TO {database}.{traces_table}_trace_id_ts
AS SELECT
    TraceId,
    toDateTime(min(Timestamp)) AS Start,
    toDateTime(max(Timestamp)) AS End
FROM {database}.{traces_table}
WHERE TraceId != ''
GROUP BY TraceId;
