-- How many rows the record of a row has: by counting, an audit sees the record that lost one and the record that has one twice.
-- Rows from before have 0, which is no claim; an audit compares their records with the topic, one by one.
-- The codecs are those that an audit and a read-back read fastest. New parts have them, old ones once they are merged.
ALTER TABLE {database}.{logs_table} {on_cluster}
    ADD COLUMN IF NOT EXISTS `source_items` UInt32 DEFAULT 0 COMMENT 'Rows of the record; 0 when they are of several days' CODEC(LZ4),
    MODIFY COLUMN `Timestamp` CODEC(Delta(8), T64, LZ4),
    MODIFY COLUMN `source_topic` CODEC(LZ4),
    MODIFY COLUMN `source_partition` CODEC(LZ4HC(3)),
    MODIFY COLUMN `source_offset` CODEC(LZ4HC(3));

ALTER TABLE {database}.{traces_table} {on_cluster}
    ADD COLUMN IF NOT EXISTS `source_items` UInt32 DEFAULT 0 COMMENT 'Rows of the record; 0 when they are of several days' CODEC(LZ4),
    MODIFY COLUMN `Timestamp` CODEC(Delta(8), T64, LZ4),
    MODIFY COLUMN `source_topic` CODEC(LZ4),
    MODIFY COLUMN `source_partition` CODEC(LZ4HC(3)),
    MODIFY COLUMN `source_offset` CODEC(LZ4HC(3));
