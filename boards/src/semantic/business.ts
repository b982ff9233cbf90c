import { IN_RANGE, ITEM, ITEM_VIEWS, LIST, LOG_ROWS, sql } from '../build/sql.ts';
import type { Metric } from './types.ts';

const ESTIMATE =
  'an estimate: the Menu API takes no orders, so the order rate is an assumption of yours, a variable of this board';
const JOINED =
  'request lines of the log joined with the menu as of each minute (dictionary `menu`, written by `hub-consumer menu`)';

/** Views of items whose price is known, and that could be ordered. */
const PRICED = `route = ${ITEM} AND status = 200 AND available AND restaurant != 'unknown'`;

/** What visitors are assumed to order, of what they view. A value that is no number is none. */
const ORDER_RATE = "toFloat64OrZero('${order_rate:percentencode}') / 100";

/** Item views a menu view leads to, and the price of a viewed item, over the day before the end of the range. */
export const BASELINE = sql`
  baseline AS (SELECT sumIf(requests, route = ${ITEM} AND status = 200) / nullIf(sumIf(requests, route = ${LIST} AND status = 200), 0) AS view_through,
    toFloat64(sumIf(requests * price, ${PRICED})) / nullIf(sumIf(requests, ${PRICED}), 0) AS mean_price
    FROM menu_requests WHERE minute > $__toTime - INTERVAL 24 HOUR AND minute <= $__toTime AND service IN (\${service:singlequote}))`;

/**
 * What so many failed menu lists cost, at the assumed order rate: 0 when none failed, and unknown when no menu was answered in the
 * day before.
 */
export const costOfFailedLists = (failed: string): string =>
  `if(${failed} = 0, 0, ${failed} * (SELECT view_through * mean_price FROM baseline) * ${ORDER_RATE})`;

/** What a view of an item costs that cannot be ordered. */
export const COST_OF_AN_UNAVAILABLE_VIEW = `toFloat64(price) * ${ORDER_RATE}`;

/** What the business asks. Money is in the one currency of the menu. */
export const BUSINESS: Metric[] = [
  {
    id: 'menu_views',
    title: 'Menu views',
    audience: 'business',
    owner: 'Product',
    unit: 'locale',
    decimals: 0,
    definition: 'Menu lists that were answered with 200',
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: 'requests, not people: no user or session is known',
    ifRed: 'no objective; a sudden fall with green availability means that traffic did not reach us',
    sql: sql`SELECT sumIf(requests, status = 200) AS menu_views FROM menu_requests WHERE ${IN_RANGE} AND route = ${LIST}`,
    promql: 'sum(increase(menu_requests_total{service=~"$service",route="/api/menu",status="200"}[$__range]))',
    difference: { share: 0.02, why: "Mimir counts from the first export after a hub's start" },
  },
  {
    id: 'item_views',
    title: 'Item views',
    audience: 'business',
    owner: 'Product',
    unit: 'locale',
    decimals: 0,
    definition: 'Item requests that were answered with an item',
    source: JOINED,
    caveat: 'an item that the menu did not have at that time is *unknown*, and stays in the sum',
    ifRed: 'no objective; `unknown` in the split means that `hub-consumer menu` has to run',
    sql: sql`SELECT sum(requests) AS item_views FROM menu_requests WHERE ${ITEM_VIEWS}`,
  },
  {
    id: 'view_through',
    title: 'Items per menu',
    audience: 'business',
    owner: 'Product',
    unit: 'none',
    decimals: 2,
    definition: 'Item requests with 200 ÷ menu lists with 200, in the same time',
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: 'a ratio of requests and not a funnel of people; it can exceed 1',
    ifRed: 'no objective; a fall while menus load means that customers see the menu and do not go on',
    sql: sql`SELECT sumIf(requests, route = ${ITEM} AND status = 200) / nullIf(sumIf(requests, route = ${LIST} AND status = 200), 0)
      AS view_through FROM menu_requests WHERE ${IN_RANGE}`,
  },
  {
    id: 'unavailable_demand',
    title: 'Unavailable',
    audience: 'business',
    owner: 'Restaurant partners',
    unit: 'locale',
    decimals: 0,
    definition: 'Item requests answered with an item that could not be ordered at that time',
    source: JOINED,
    caveat: 'availability is as of the last run of `hub-consumer menu`; the log does not say it',
    ifRed: 'tell the restaurant what it misses: the item table has the estimate',
    objective: { better: 'lower', amber: 1, red: 1000 },
    sql: sql`SELECT sumIf(requests, NOT available) AS unavailable_demand FROM menu_requests WHERE ${ITEM_VIEWS}`,
  },
  {
    id: 'unserved_demand',
    title: 'Unknown items',
    audience: 'business',
    owner: 'Product',
    unit: 'locale',
    decimals: 0,
    definition: 'Item requests answered with 404',
    source: 'request lines of the log, ClickHouse `menu_requests`; the ids from the lines themselves',
    caveat: 'may be bots that try ids: look at how often each id was asked for',
    ifRed: 'one id often: a stale link or a removed dish. Many ids once each: somebody is trying',
    objective: { better: 'lower', amber: 100, red: 10000 },
    sql: sql`SELECT sumIf(requests, status = 404) AS unserved_demand FROM menu_requests WHERE ${IN_RANGE} AND route = ${ITEM}`,
    promql:
      '(sum(increase(menu_requests_total{service=~"$service",route="/api/menu/{id}",status="404"}[$__range])) or 0 * sum(increase(menu_requests_total{service=~"$service"}[$__range])))',
    difference: { share: 0.02, why: "Mimir counts from the first export after a hub's start" },
  },
  {
    id: 'unknown_ids',
    title: 'Unknown ids',
    audience: 'business',
    owner: 'Product',
    unit: 'locale',
    decimals: 0,
    definition: 'Distinct ids that were asked for and do not exist',
    source: 'request lines of the log, ClickHouse `otel_logs`',
    caveat: "ids are a visitor's text: shown escaped and cut to 60 characters, and never a label of a metric",
    ifRed: 'see *Unknown items*',
    sql: sql`SELECT uniq(LogAttributes['menu_item_id']) AS unknown_ids FROM otel_logs WHERE ${LOG_ROWS} AND menu_route = ${ITEM} AND menu_status = 404`,
  },
  {
    id: 'value_shown',
    title: 'Value shown',
    audience: 'business',
    owner: 'Product',
    unit: 'currencyUSD',
    decimals: 0,
    definition: 'Sum of the prices of viewed items that could be ordered',
    source: JOINED,
    caveat: 'attention, not revenue',
    ifRed: 'no objective',
    sql: sql`SELECT sumIf(requests * price, available) AS value_shown FROM menu_requests WHERE ${ITEM_VIEWS}`,
  },
  {
    id: 'lost_revenue_outage',
    title: 'Lost by failed menus (estimate)',
    audience: 'business',
    owner: 'Finance',
    unit: 'currencyUSD',
    decimals: 0,
    definition:
      'Failed menu lists × item views a menu view × mean price of a viewed item × assumed order rate; low and high at half and double the rate',
    source: `${JOINED}; views and price over the 24 hours before the end of the range`,
    caveat: `${ESTIMATE}; unknown when no menu was answered in these 24 hours`,
    ifRed: 'this is what waiting costs: give it to whoever decides about a rollback. Without failures it is 0',
    objective: { better: 'lower', amber: 0.01, red: 1000 },
    sql: sql`WITH ${BASELINE} SELECT ${costOfFailedLists('sumIf(requests, status >= 500)')} AS estimate,
      estimate / 2 AS low, estimate * 2 AS high FROM menu_requests WHERE ${IN_RANGE} AND route = ${LIST}`,
  },
  {
    id: 'lost_revenue_unavailable',
    title: 'Lost by unavailable items (estimate)',
    audience: 'business',
    owner: 'Restaurant partners',
    unit: 'currencyUSD',
    decimals: 0,
    definition:
      'Views of unavailable items × their price × assumed order rate; low and high at half and double the rate',
    source: JOINED,
    caveat: ESTIMATE,
    ifRed: 'the item table tells which dish to bring back first',
    objective: { better: 'lower', amber: 0.01, red: 1000 },
    sql: sql`SELECT sumIf(requests * ${COST_OF_AN_UNAVAILABLE_VIEW}, NOT available) AS estimate, estimate / 2 AS low, estimate * 2 AS high
      FROM menu_requests WHERE ${ITEM_VIEWS}`,
  },
  {
    id: 'concentration',
    title: 'Top restaurant',
    audience: 'business',
    owner: 'Product',
    unit: 'percentunit',
    decimals: 0,
    definition: 'Item views of the restaurant with most of them ÷ all item views',
    source: JOINED,
    caveat: 'with few restaurants it is high by nature',
    ifRed: "no objective; near 1 means that one kitchen's outage is everybody's",
    sql: sql`SELECT max(views) / nullIf(sum(views), 0) AS concentration FROM
      (SELECT restaurant, sum(requests) AS views FROM menu_requests WHERE ${ITEM_VIEWS} GROUP BY restaurant)`,
  },
];
