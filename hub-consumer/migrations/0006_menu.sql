-- What the business sees of the Menu API's request log. Three columns say of a row what the rollup is keyed by, and none is a
-- visitor's text: routes are of a closed list, and an item has its id only where the service itself has answered with it.
-- Any other id is `other`.
ALTER TABLE {database}.{logs_table} {on_cluster}
    ADD COLUMN IF NOT EXISTS `menu_status` UInt16
        MATERIALIZED toUInt16OrZero(LogAttributes['status_code'])
        COMMENT 'HTTP status of a request line, 0 for any other line' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS `menu_route` Enum8('' = 0, '/api/menu' = 1, '/api/menu/{{id}}' = 2, '/health' = 3, 'other' = 4)
        MATERIALIZED toInt8(transform(left(LogAttributes['path'], 10), ['', '/api/menu', '/api/menu/', '/health'], [0, 1, 2, 3], 4))
        COMMENT 'Route of a request line' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS `menu_item` LowCardinality(String)
        MATERIALIZED multiIf(
            LogAttributes['menu_item_id'] = '', '',
            menu_status = 200 AND length(LogAttributes['menu_item_id']) <= 32, LogAttributes['menu_item_id'],
            'other')
        COMMENT 'Id of the item that was answered, `other` where none was' CODEC(ZSTD(1));

-- A projection lies in the parts of its rows: no replay, lost part, DELETE or TTL makes the two differ. Of parts that are older
-- than it, queries read the rows instead; `hub-consumer migrate --rebuild-rollups` gives them theirs.
ALTER TABLE {database}.{logs_table} {on_cluster}
    ADD PROJECTION IF NOT EXISTS menu_minutes
    (
        SELECT toStartOfMinute(Timestamp), ServiceName, menu_route, menu_status, menu_item, count(), max(received_at)
        GROUP BY toStartOfMinute(Timestamp), ServiceName, menu_route, menu_status, menu_item
    );

-- A lightweight DELETE, or a merge that removes rows, makes the projections of its parts anew instead of being refused.
ALTER TABLE {database}.{logs_table} {on_cluster}
    MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild', deduplicate_merge_projection_mode = 'rebuild';

-- The menu as of any time: what an item was called, cost and belonged to from one second to another. `hub-consumer menu` writes
-- it; of two rows of an item that begin together the later one counts.
CREATE TABLE IF NOT EXISTS {database}.menu_items {on_cluster}
(
    `item_id` String COMMENT 'Id in the Menu API',
    `valid_from` DateTime COMMENT 'First second',
    `valid_to` DateTime COMMENT 'Last second',
    `name` String,
    `restaurant` LowCardinality(String),
    `category` LowCardinality(String),
    `price` Decimal(10, 2) COMMENT 'In the one currency of the platform',
    `available` Bool,
    `written_at` DateTime64(6) DEFAULT now64(6)
)
ENGINE = {engine}
ORDER BY (item_id, valid_from, written_at)
SETTINGS {storage_policy}
    non_replicated_deduplication_window = 1000000,
    replicated_deduplication_window = 1000000,
    replicated_deduplication_window_seconds = 604800;

CREATE DICTIONARY IF NOT EXISTS {database}.menu {on_cluster}
(
    `item_id` String,
    `valid_from` DateTime,
    `valid_to` DateTime,
    `name` String,
    `restaurant` String,
    `category` String,
    `price` Decimal(10, 2),
    `available` Bool
)
PRIMARY KEY item_id
SOURCE(CLICKHOUSE({dictionary_user} QUERY 'SELECT item_id, valid_from, argMax(valid_to, written_at) AS valid_to, argMax(name, written_at) AS name, argMax(restaurant, written_at) AS restaurant, argMax(category, written_at) AS category, argMax(price, written_at) AS price, argMax(available, written_at) AS available FROM {database}.menu_items GROUP BY item_id, valid_from'))
LIFETIME(MIN 5 MAX 15)
LAYOUT(COMPLEX_KEY_RANGE_HASHED())
RANGE(MIN valid_from MAX valid_to);

-- Requests a minute, with what the menu said of the item in that minute: what dashboards read. It is no table: it names the rollup
-- once, so that every reader uses the projection and joins the menu alike.
CREATE VIEW IF NOT EXISTS {database}.menu_requests {on_cluster} AS
SELECT
    minute, service, toString(menu_route) AS route, status, item, requests, received_at,
    dictGetOrDefault('{database_name}.menu', 'name', tuple(item), minute, if(item IN ('', 'other'), '', 'unknown')) AS name,
    dictGetOrDefault('{database_name}.menu', 'restaurant', tuple(item), minute, if(item IN ('', 'other'), '', 'unknown')) AS restaurant,
    dictGetOrDefault('{database_name}.menu', 'category', tuple(item), minute, if(item IN ('', 'other'), '', 'unknown')) AS category,
    dictGetOrDefault('{database_name}.menu', 'price', tuple(item), minute, toDecimal64(0, 2)) AS price,
    dictGetOrDefault('{database_name}.menu', 'available', tuple(item), minute, true) AS available
FROM
(
    SELECT
        toStartOfMinute(Timestamp) AS minute,
        ServiceName AS service,
        menu_route,
        menu_status AS status,
        menu_item AS item,
        count() AS requests,
        max(received_at) AS received_at
    FROM {database}.{logs_table}
    WHERE menu_status > 0
    GROUP BY minute, service, menu_route, status, item
);
