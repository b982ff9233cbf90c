-- Spans: the columns and the key of the OpenTelemetry Collector's exporter, v0.151 and later; provenance after them.
CREATE TABLE IF NOT EXISTS {database}.{traces_table} {on_cluster}
(
    `Timestamp` DateTime64(9) COMMENT 'When the span started' CODEC(Delta(8), ZSTD(1)),
    `TraceId` String COMMENT 'W3C trace id, lower-case hex' CODEC(ZSTD(1)),
    `SpanId` String COMMENT 'W3C span id, lower-case hex' CODEC(ZSTD(1)),
    `ParentSpanId` String COMMENT 'Span id of the parent, empty for a root span' CODEC(ZSTD(1)),
    `TraceState` String COMMENT 'W3C trace state' CODEC(ZSTD(1)),
    `SpanName` LowCardinality(String) COMMENT 'The operation' CODEC(ZSTD(1)),
    `SpanKind` LowCardinality(String) COMMENT 'Unspecified, Internal, Server, Client, Producer or Consumer' CODEC(ZSTD(1)),
    `ServiceName` LowCardinality(String) COMMENT 'Resource attribute service.name' CODEC(ZSTD(1)),
    `ResourceAttributes` Map(LowCardinality(String), String) COMMENT 'Who sent it' CODEC(ZSTD(1)),
    `ScopeName` String COMMENT 'Instrumentation scope' CODEC(ZSTD(1)),
    `ScopeVersion` String COMMENT 'Version of the scope' CODEC(ZSTD(1)),
    `SpanAttributes` Map(LowCardinality(String), String) COMMENT 'Attributes of the span' CODEC(ZSTD(1)),
    `Duration` UInt64 COMMENT 'Nanoseconds' CODEC(T64, ZSTD(1)),
    `StatusCode` LowCardinality(String) COMMENT 'Unset, Ok or Error' CODEC(ZSTD(1)),
    `StatusMessage` String COMMENT 'What went wrong' CODEC(ZSTD(1)),
    `Events` Nested
    (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    `Links` Nested
    (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    `source_topic` LowCardinality(String) COMMENT 'Kafka topic of the record' CODEC(ZSTD(1)),
    `source_partition` UInt16 COMMENT 'Kafka partition of the record' CODEC(ZSTD(1)),
    `source_offset` UInt64 COMMENT 'Kafka offset of the record' CODEC(ZSTD(1)),

    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1,
    INDEX idx_lower_span_name lower(SpanName) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8,
    INDEX idx_source (source_partition, source_offset) TYPE minmax GRANULARITY 1
)
ENGINE = {engine}
PARTITION BY toDate(Timestamp)
PRIMARY KEY (ServiceName, SpanName, toDateTime(Timestamp))
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)
TTL {move_to_cold}toDateTime(Timestamp) + toIntervalDay({retention_days}) DELETE
SETTINGS {storage_policy}
    index_granularity = 8192,
    ttl_only_drop_parts = 1,
    non_replicated_deduplication_window = 1000000,
    replicated_deduplication_window = 1000000,
    replicated_deduplication_window_seconds = 604800;
