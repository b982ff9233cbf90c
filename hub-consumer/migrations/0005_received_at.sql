-- When the broker had the record of a row: how fresh a table is, whatever times its rows tell. Rows from before have 0.
ALTER TABLE {database}.{logs_table} {on_cluster}
    ADD COLUMN IF NOT EXISTS `received_at` DateTime DEFAULT 0 COMMENT 'When the broker had the record; 0 when it did not say' CODEC(LZ4);

ALTER TABLE {database}.{traces_table} {on_cluster}
    ADD COLUMN IF NOT EXISTS `received_at` DateTime DEFAULT 0 COMMENT 'When the broker had the record; 0 when it did not say' CODEC(LZ4);
