-- What became of each charged order, decided once: `hub-consumer reconcile` writes it, and its counters are sums over it. The orders
-- that are owed to their customers are those with the outcome `unconfirmed`.
CREATE TABLE IF NOT EXISTS {database}.order_outcomes {on_cluster}
(
    `order_id` String COMMENT 'The order' CODEC(ZSTD(1)),
    `market` LowCardinality(String) COMMENT 'Where it was ordered',
    `restaurant` LowCardinality(String) COMMENT 'Who should cook it',
    `partition` LowCardinality(String) COMMENT 'Partition of the broker, empty when nobody said',
    `outcome` LowCardinality(String) COMMENT 'restaurant_acked_in_time, restaurant_acked_late, rejected, cancelled, refunded or unconfirmed',
    `points` UInt8 COMMENT 'Bit n is set when point n + 1 of the six has seen it',
    `amount` Float64 COMMENT 'What was charged, in the one currency of the platform',
    `trace_id` String COMMENT 'Its trace' CODEC(ZSTD(1)),
    `captured_at` DateTime64(3) COMMENT 'When the platform received its capture' CODEC(Delta(8), ZSTD(1)),
    `decided_at` DateTime64(3) DEFAULT now64(3) COMMENT 'When the outcome was written' CODEC(Delta(8), ZSTD(1))
)
ENGINE = {engine}
PARTITION BY toYYYYMM(captured_at)
ORDER BY order_id
TTL toDateTime(captured_at) + toIntervalDay({retention_days}) DELETE
SETTINGS {storage_policy}
    non_replicated_deduplication_window = 1000000,
    replicated_deduplication_window = 1000000,
    replicated_deduplication_window_seconds = 604800;
