-- An audit and a read-back read these columns of every row. T64 leaves LZ4 few bits to look at, so that they are read several times
-- faster than by ZSTD and are no larger. New parts have it, old ones once they are merged.
ALTER TABLE {database}.{logs_table} {on_cluster}
    MODIFY COLUMN `Timestamp` CODEC(Delta(8), T64, LZ4),
    MODIFY COLUMN `source_partition` CODEC(T64, LZ4),
    MODIFY COLUMN `source_offset` CODEC(T64, LZ4);

ALTER TABLE {database}.{traces_table} {on_cluster}
    MODIFY COLUMN `Timestamp` CODEC(Delta(8), T64, LZ4),
    MODIFY COLUMN `source_partition` CODEC(T64, LZ4),
    MODIFY COLUMN `source_offset` CODEC(T64, LZ4);
