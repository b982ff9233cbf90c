-- What happened from when to when, in a few words: outages, incidents, exercises. Boards draw it over their panels; a person or
-- a script writes it.
CREATE TABLE IF NOT EXISTS {database}.incident_marks {on_cluster}
(
    `started_at` DateTime COMMENT 'First second',
    `ended_at` DateTime DEFAULT started_at COMMENT 'Last second',
    `kind` LowCardinality(String) COMMENT 'One word: outage, incident, exercise, deployment',
    `text` String COMMENT 'What a reader of a board should know'
)
ENGINE = {engine}
ORDER BY started_at
TTL started_at + toIntervalDay({retention_days}) DELETE
SETTINGS {storage_policy}
    non_replicated_deduplication_window = 1000000,
    replicated_deduplication_window = 1000000,
    replicated_deduplication_window_seconds = 604800;
