/** Panels for who asks what it costs. */

import { AMBER, BAD, GOOD, fixed, property, thresholds, values } from '../../build/look.ts';
import { barGauge, bars, lines, statOf, table, type Meaning } from '../../build/panels.ts';
import { IN_RANGE, ITEM, ITEM_VIEWS, LIST, LOG_ROWS, sql } from '../../build/sql.ts';
import { CLICKHOUSE, ch } from '../../build/targets.ts';
import { BASELINE, COST_OF_AN_UNAVAILABLE_VIEW, costOfFailedLists } from '../../semantic/business.ts';
import { metric } from '../../semantic/index.ts';

/** Fields of a metric that a query answers with several numbers for. */
function estimate(id: string) {
  const of = metric(id);
  if (of.sql === undefined) {
    throw new Error(`metric "${id}" has no SQL`);
  }
  return statOf(of, ch(of.sql), CLICKHOUSE)
    .unit(of.unit)
    .decimals(of.decimals ?? 0)
    .overrideByName('estimate', [
      property('displayName', 'estimate'),
      property('thresholds', thresholds(of.objective).build()),
    ]);
}

export const lostRevenue = () => estimate('lost_revenue_outage');
export const lostByUnavailable = () => estimate('lost_revenue_unavailable');

/** Menu and item views a minute. */
export function views() {
  const meaning: Meaning = {
    title: 'Views a minute',
    definition: 'Menus and items that were answered, a minute',
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: 'requests, not people; the last point may be of a minute that is not over',
    ifRed: 'no objective; when both fall, traffic does not reach us; when only items fall, customers do not go on',
  };
  const query = sql`
    SELECT $__timeInterval(minute) AS time, sumIf(requests, route = ${LIST}) * 60 / $__interval_s AS "menu views",
      sumIf(requests, route = ${ITEM}) * 60 / $__interval_s AS "item views"
    FROM menu_requests WHERE ${IN_RANGE} AND status = 200 GROUP BY time ORDER BY time LIMIT 20000`;
  return lines(meaning, CLICKHOUSE, ch(query, 'timeseries')).interval('1m').unit('short');
}

/** Items with what they bring and miss. */
export function itemTable() {
  const meaning: Meaning = {
    title: 'Items',
    definition:
      'Views, change against the same time a day before, price and availability now, and what views while unavailable are estimated to cost',
    source: 'request lines of the log joined with the menu as of each minute',
    caveat: 'without data of the day before the change is empty; the estimate depends on the assumed order rate',
    ifRed: 'a dish that is viewed and cannot be ordered costs the estimate: bring it back, or take it off the menu',
  };
  const query = sql`
    WITH before AS (SELECT item, sum(requests) AS views FROM menu_requests WHERE minute >= $__fromTime - INTERVAL 1 DAY
        AND minute <= $__toTime - INTERVAL 1 DAY AND service IN (\${service:singlequote}) AND route = ${ITEM} AND status = 200 GROUP BY item),
      now_viewed AS (SELECT item, sum(requests) AS views, sumIf(requests * ${COST_OF_AN_UNAVAILABLE_VIEW}, NOT available) AS lost,
        argMax(name, minute) AS newest_name, argMax(restaurant, minute) AS newest_restaurant, argMax(price, minute) AS newest_price, argMax(available, minute) AS newest_available
        FROM menu_requests WHERE ${ITEM_VIEWS} GROUP BY item)
    SELECT newest_name AS "Item", newest_restaurant AS "Restaurant", now_viewed.views AS "Views",
      if(before.views = 0, NULL, now_viewed.views / before.views - 1) AS "vs −1 d", newest_price AS "Price", toUInt8(newest_available) AS "On sale",
      lost AS "Lost (est.)"
    FROM now_viewed LEFT JOIN before ON before.item = now_viewed.item ORDER BY now_viewed.views DESC LIMIT 50`;
  return table(meaning, ch(query), CLICKHOUSE)
    .overrideByName('vs −1 d', [
      property('unit', 'percentunit'),
      property('decimals', 0),
      property('noValue', 'no history'),
    ])
    .overrideByName('Price', [property('unit', 'currencyUSD'), property('decimals', 2)])
    .overrideByName('On sale', [
      property('mappings', [values({ '0': ['no', BAD], '1': ['yes', GOOD] })]),
      property('custom.cellOptions', { type: 'color-text' }),
    ])
    .overrideByName('Lost (est.)', [property('unit', 'currencyUSD'), property('decimals', 0)])
    .overrideByName('Item', [property('custom.minWidth', 130)])
    .overrideByName('Restaurant', [property('custom.minWidth', 110)])
    .overrideByRegexp('/Views|Price|vs|On sale|Lost/', [property('custom.minWidth', 70)]);
}

function viewsBy(column: 'restaurant' | 'category' | 'name', title: string) {
  const meaning: Meaning = {
    title,
    definition: `Item views, by ${column}`,
    source: 'request lines of the log joined with the menu as of each minute',
    caveat: '`unknown` are items that the menu did not have at that time',
    ifRed: 'no objective; a restaurant that falls to 0 while others do not has a problem of its own',
  };
  const query = sql`SELECT ${column}, sum(requests) AS views FROM menu_requests WHERE ${ITEM_VIEWS} GROUP BY ${column} ORDER BY views DESC LIMIT 20`;
  return barGauge(meaning, ch(query), CLICKHOUSE).unit('locale');
}

export const viewsByRestaurant = () => viewsBy('restaurant', 'Views by restaurant');
export const viewsByCategory = () => viewsBy('category', 'Views by category');

/** Ids that were asked for and do not exist. */
export function unservedIds() {
  const meaning: Meaning = {
    title: 'Unknown ids',
    definition: 'Ids that were asked for in the last hour of the range and do not exist, most often first',
    source: 'request lines of the log, ClickHouse `otel_logs`',
    caveat: "a visitor's text, cut to 60 characters; may be bots",
    ifRed: 'one id often: a stale link or a removed dish. Many ids once each: somebody is trying',
  };
  const query = sql`
    SELECT leftUTF8(LogAttributes['menu_item_id'], 60) AS "Id", count() AS "Requests" FROM otel_logs
    WHERE ${LOG_ROWS} AND Timestamp > $__toTime - INTERVAL 1 HOUR AND menu_route = ${ITEM} AND menu_status = 404 GROUP BY "Id" ORDER BY "Requests" DESC, "Id" LIMIT 20`;
  return table(meaning, ch(query), CLICKHOUSE)
    .overrideByName('Requests', [property('custom.width', 80)])
    .overrideByName('Id', [property('custom.minWidth', 70)]);
}

/** What failures and unavailable items are estimated to cost, over time. */
export function revenueAtRisk() {
  const meaning: Meaning = {
    title: 'Lost by cause, over time (estimate)',
    definition: 'The two estimates of this row over time: failed menus, and views of unavailable items',
    source: 'request lines of the log joined with the menu as of each minute',
    caveat: 'an estimate: the order rate is an assumption of yours, a variable of this board',
    ifRed: 'the larger part is what to mend first',
  };
  const query = sql`
    WITH ${BASELINE} SELECT $__timeInterval(minute) AS time, ${costOfFailedLists(`sumIf(requests, route = ${LIST} AND status >= 500)`)} AS "failed menus",
      sumIf(requests * ${COST_OF_AN_UNAVAILABLE_VIEW}, route = ${ITEM} AND status = 200 AND NOT available) AS "unavailable items"
    FROM menu_requests WHERE ${IN_RANGE} GROUP BY time ORDER BY time LIMIT 20000`;
  return bars(meaning, CLICKHOUSE, ch(query, 'timeseries'))
    .interval('1m')
    .unit('currencyUSD')
    .overrideByName('failed menus', fixed(BAD))
    .overrideByName('unavailable items', fixed(AMBER));
}

/** What became of requests for items. */
export function demandSplit() {
  const meaning: Meaning = {
    title: 'Demand that was not served',
    definition: 'Item requests a minute that led to nothing to order: unavailable items, unknown ids, failures',
    source: 'request lines of the log joined with the menu as of each minute',
    caveat: 'unknown ids may be bots',
    ifRed:
      'a step in *unavailable* is a dish that went off; in *unknown ids* a stale link or a bot; in *failed* see Technical',
  };
  const query = sql`
    SELECT $__timeInterval(minute) AS time, sumIf(requests, status = 200 AND NOT available) * 60 / $__interval_s AS unavailable,
      sumIf(requests, status = 404) * 60 / $__interval_s AS "unknown ids", sumIf(requests, status >= 500) * 60 / $__interval_s AS failed
    FROM menu_requests WHERE ${IN_RANGE} AND route = ${ITEM} GROUP BY time ORDER BY time LIMIT 20000`;
  return bars(meaning, CLICKHOUSE, ch(query, 'timeseries'))
    .interval('1m')
    .unit('short')
    .overrideByName('unavailable', fixed(AMBER))
    .overrideByName('unknown ids', fixed('#5b8ff9'))
    .overrideByName('failed', fixed(BAD));
}

/** Item views by bands of price. */
export function priceMix() {
  const meaning: Meaning = {
    title: 'Views by price',
    definition: 'Item views, by the price that the item had when it was viewed',
    source: 'request lines of the log joined with the menu as of each minute',
    caveat: 'attention, not orders',
    ifRed: 'no objective',
  };
  const query = sql`
    SELECT multiIf(price < 10, 'below 10', price < 15, '10 to 15', price < 20, '15 to 20', '20 and more') AS band, sum(requests) AS views
    FROM menu_requests WHERE ${ITEM_VIEWS} GROUP BY band ORDER BY min(price) LIMIT 10`;
  return barGauge(meaning, ch(query), CLICKHOUSE).unit('locale');
}

/** Views of each item over time. */
export function viewsOfItems() {
  const meaning: Meaning = {
    title: 'Views of items a minute',
    definition: 'Item views a minute, by item',
    source: 'request lines of the log joined with the menu as of each minute',
    caveat: 'items that share a name share a line',
    ifRed: 'no objective; one that rises alone is a promotion, a link somewhere, or a bot',
  };
  const query = sql`
    SELECT $__timeInterval(minute) AS time, name, sum(requests) * 60 / $__interval_s AS views
    FROM menu_requests WHERE ${ITEM_VIEWS} GROUP BY time, name ORDER BY time, name LIMIT 20000`;
  return lines(meaning, CLICKHOUSE, ch(query, 'timeseries'))
    .interval('1m')
    .unit('short')
    .displayName('${__field.labels.name}');
}

/** Now against the same hours a day and a week ago. */
export function popularity() {
  const meaning: Meaning = {
    title: 'Popularity against a day and a week ago',
    definition: 'Item views of the range, and of the same hours 1 and 7 days before',
    source: 'request lines of the log joined with the menu as of each minute',
    caveat: 'empty where there is no history yet; not 0',
    ifRed: 'no objective',
  };
  const shifted = (days: number) => sql`
    (SELECT item, sum(requests) AS views FROM menu_requests WHERE minute >= $__fromTime - INTERVAL ${days} DAY AND minute <= $__toTime - INTERVAL ${days} DAY
      AND service IN (\${service:singlequote}) AND route = ${ITEM} AND status = 200 GROUP BY item)`;
  const query = sql`
    SELECT n.newest_name AS "Item", n.views AS "Now", nullIf(d.views, 0) AS "A day ago", nullIf(w.views, 0) AS "A week ago",
      if(d.views = 0, NULL, n.views / d.views - 1) AS "vs −1 d", if(w.views = 0, NULL, n.views / w.views - 1) AS "vs −7 d"
    FROM (SELECT item, argMax(name, minute) AS newest_name, sum(requests) AS views FROM menu_requests WHERE ${ITEM_VIEWS} GROUP BY item) AS n
      LEFT JOIN ${shifted(1)} AS d ON d.item = n.item LEFT JOIN ${shifted(7)} AS w ON w.item = n.item ORDER BY n.views DESC LIMIT 50`;
  const change = [property('unit', 'percentunit'), property('decimals', 0), property('noValue', 'no history')];
  return table(meaning, ch(query), CLICKHOUSE)
    .overrideByName('vs −1 d', change)
    .overrideByName('vs −7 d', change)
    .overrideByName('A day ago', [property('noValue', 'no history')])
    .overrideByName('A week ago', [property('noValue', 'no history')]);
}

/** Item views for each menu view over time. */
export function viewThrough() {
  const meaning: Meaning = {
    title: 'Item views a menu view',
    definition: 'Item requests with 200 ÷ menu lists with 200',
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: 'a ratio of requests and not a funnel of people; it can exceed 1',
    ifRed: 'no objective',
  };
  const query = sql`
    SELECT $__timeInterval(minute) AS time, sumIf(requests, route = ${ITEM}) / nullIf(sumIf(requests, route = ${LIST}), 0) AS "item views a menu view"
    FROM menu_requests WHERE ${IN_RANGE} AND status = 200 GROUP BY time ORDER BY time LIMIT 20000`;
  return lines(meaning, CLICKHOUSE, ch(query, 'timeseries')).interval('1m').unit('none').decimals(2);
}
