/** One sentence for each audience, which begins with how it is: `OK`, `Degraded`, `Failing`, or `Unknown`. */
import { IN_RANGE, ITEM, ITEM_VIEWS, LIST, REQUESTS, sql } from '../build/sql.ts';
import { BASELINE, costOfFailedLists } from '../semantic/business.ts';
import { AVAILABILITY } from '../semantic/slo.ts';

const FAILURES = 'sumIf(requests, status >= 500)';
const GOOD = 'sumIf(requests, status BETWEEN 200 AND 299)';

/** How customers fare. */
export const CUSTOMERS_SENTENCE = sql`
  SELECT multiIf(good + bad = 0, 'Unknown: nobody asked for a menu in this range',
    good / (good + bad) >= ${AVAILABILITY}, concat('OK: ', toString(round(100 * good / (good + bad), 2)), ' % of menus arrived'),
    concat(if(good / (good + bad) >= 0.99, 'Degraded: ', 'Failing: '), toString(round(100 * good / (good + bad), 1)), ' % of menus arrived, ',
      toString(bad), ' did not; the error budget burns ', toString(round(bad / (good + bad) / ${(1 - AVAILABILITY).toFixed(4)})), 'x')) AS customers
  FROM (SELECT ${GOOD} AS good, ${FAILURES} AS bad FROM menu_requests WHERE ${IN_RANGE} AND route = ${LIST})`;

/** What it costs. */
export const BUSINESS_SENTENCE = sql`
  WITH ${BASELINE}, money AS (SELECT ${FAILURES} AS lists, ${costOfFailedLists('lists')} AS failed FROM menu_requests WHERE ${IN_RANGE} AND route = ${LIST}),
    items AS (SELECT sum(requests) AS views, sumIf(requests, NOT available) AS unavailable FROM menu_requests WHERE ${ITEM_VIEWS})
  SELECT multiIf(views = 0 AND lists = 0, 'Unknown: no item was viewed in this range',
    lists > 0 AND isNull(failed), concat('Failing: ', toString(lists), ' menus failed; what that costs is unknown without good ones'),
    lists > 0, concat('Degraded: about ', toString(round(failed)), ' lost by failed menus (', toString(round(failed / 2)), ' to ', toString(round(failed * 2)), ')'),
    unavailable > 0, concat('OK: no menu failed; ', toString(round(100 * unavailable / views)), ' % of views were of items that cannot be ordered'),
    'OK: no menu failed, every viewed item could be ordered') AS business FROM money, items`;

/** Where it is. */
export const TECHNICAL_SENTENCE = sql`
  SELECT multiIf(sum(n) = 0, 'Unknown: no request in this range', sum(bad) = 0, concat('OK: ', toString(sum(n)), ' requests, none failed'),
    concat(if(sum(bad) / sum(n) < 0.01, 'Degraded: ', 'Failing: '), argMax(route, bad), ' answers 5xx, ', toString(max(bad)), ' times; last at ',
      formatDateTime(max(last_bad), '%H:%i', 'UTC'), ' UTC')) AS technical
  FROM (SELECT route, sum(requests) AS n, ${FAILURES} AS bad, maxIf(minute, status >= 500) AS last_bad FROM menu_requests WHERE ${REQUESTS} GROUP BY route)`;

/** Item answers that count as served, for the split of demand. */
export const SERVED = `route = ${ITEM} AND status = 200`;
