import { IN_RANGE, ITEM, LIST, REQUESTS, sql } from '../build/sql.ts';
import { SERVED, SERVICE, items, lists, orZero } from '../build/prom.ts';
import { AVAILABILITY, BUDGET_DAYS, LATENCY_SECONDS, PIPELINE } from './slo.ts';
import type { Metric } from './types.ts';

const COUNTED =
  "Mimir counts from the first export after a hub's start, and a kill -9 leaves one export interval uncounted";

/** Requests whose time is known. */
const TIMED = `sum(increase(menu_request_duration_seconds_count{${SERVICE},${SERVED}}[$__range]))`;

/** What a customer of the Menu API notices. */
export const CUSTOMERS: Metric[] = [
  {
    id: 'menu_availability',
    title: 'Menu success',
    audience: 'customers',
    owner: 'Menu team',
    unit: 'percentunit',
    decimals: 2,
    definition: 'Menu lists answered with 2xx, of those answered with 2xx or 5xx',
    source:
      "request lines of the service's log, ClickHouse `menu_requests`; the alerts use `menu_requests_total` in Mimir",
    caveat: '4xx are not our failures and do not count; a request that never reached the service leaves no line',
    ifRed:
      'look at *Failure reasons* in the Technical row, open a failed trace, follow the runbook page of MenuAvailabilityBurnFast',
    objective: { better: 'higher', amber: AVAILABILITY, red: 0.99 },
    sql: sql`SELECT sumIf(requests, status BETWEEN 200 AND 299) / nullIf(sumIf(requests, status BETWEEN 200 AND 299 OR status >= 500), 0)
      AS menu_success FROM menu_requests WHERE ${IN_RANGE} AND route = ${LIST}`,
    promql: `${orZero(lists('2xx', '$__range'), lists('2xx|5xx', '$__range'))} / ${lists('2xx|5xx', '$__range')}`,
    difference: { share: 0.02, why: COUNTED },
  },
  {
    id: 'item_availability',
    title: 'Item answers that are right',
    audience: 'customers',
    owner: 'Menu team',
    unit: 'percentunit',
    decimals: 2,
    definition: 'Item requests answered with 2xx or 404, of all item requests',
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat:
      '404 is the right answer to an id that does not exist, so this is uptime and not whether the customer was served',
    ifRed: 'as for Menu success, on the route `/api/menu/{id}`',
    objective: { better: 'higher', amber: AVAILABILITY, red: 0.99 },
    sql: sql`SELECT sumIf(requests, status BETWEEN 200 AND 299 OR status = 404) / nullIf(sum(requests), 0) AS item_availability
      FROM menu_requests WHERE ${IN_RANGE} AND route = ${ITEM}`,
    promql: `${orZero(items('status=~"2..|404"', '$__range'), items('', '$__range'))} / ${items('', '$__range')}`,
    difference: { share: 0.02, why: COUNTED },
  },
  {
    id: 'found',
    title: 'Found it',
    audience: 'customers',
    owner: 'Menu team',
    unit: 'percentunit',
    decimals: 1,
    definition: 'Item requests answered with an item that can be ordered, of all item requests',
    source: 'request lines of the log joined with the menu as of each minute',
    caveat:
      "a product outcome, not uptime: bots that try ids lower it; availability is the menu's, the log does not say it",
    ifRed: 'look at *Demand that was not served* in the Business row: is it one unavailable item, or unknown ids?',
    objective: { better: 'higher', amber: 0.8, red: 0.5 },
    sql: sql`SELECT sumIf(requests, status = 200 AND available AND restaurant != 'unknown') / nullIf(sum(requests), 0) AS found
      FROM menu_requests WHERE ${IN_RANGE} AND route = ${ITEM}`,
  },
  {
    id: 'apdex',
    title: 'Apdex',
    audience: 'customers',
    owner: 'Menu team',
    unit: 'none',
    decimals: 2,
    definition: 'Good answers within T count 1, within 4 T count ½, slower ones and 5xx count 0; the mean of all',
    source: '`menu_request_duration_seconds` in Mimir, from `duration_ms` of the log; T is the variable *Apdex T*',
    caveat:
      'the time the handler took, without network and queue; a failure answers at once and must not look fast, so 5xx count 0',
    ifRed: 'if Menu success is red too, mend that first; else open a slow trace from the latency panel',
    objective: { better: 'higher', amber: 0.94, red: 0.85 },
    promql:
      `(${orZero(`sum(increase(menu_request_duration_seconds_bucket{${SERVICE},${SERVED},status_class!="5xx",le=~"$apdex_t"}[$__range]))`, TIMED)} / 2)` +
      ` / ${TIMED}`,
  },
  {
    id: 'latency_p95',
    title: 'p95, good',
    audience: 'customers',
    owner: 'Menu team',
    unit: 's',
    decimals: 2,
    definition: '95 of 100 answers of menu and items with 2xx took no longer',
    source: '`menu_request_duration_seconds` in Mimir',
    caveat: 'interpolated within a bucket; failures answer at once and are left out; no average of percentiles is made',
    ifRed: 'click an exemplar: its trace shows which step took the time',
    objective: { better: 'lower', amber: LATENCY_SECONDS, red: LATENCY_SECONDS * 5 },
    promql: `histogram_quantile(0.95, sum by (le) (increase(menu_request_duration_seconds_bucket{${SERVICE},${SERVED},status_class="2xx"}[$__range])))`,
  },
  {
    id: 'affected_requests',
    title: 'Affected requests',
    audience: 'customers',
    owner: 'Menu team',
    unit: 'locale',
    decimals: 0,
    definition: 'Requests of menu and items that were answered with 5xx',
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: 'requests, not people: no user or session is known, and a customer who tries again counts twice',
    ifRed: '*What customers saw* tells which route; tell support how many and since when',
    objective: { better: 'lower', amber: 1, red: 100 },
    sql: sql`SELECT sumIf(requests, status >= 500) AS affected_requests FROM menu_requests WHERE ${REQUESTS}`,
    promql: orZero(
      `sum(increase(menu_requests_total{${SERVICE},route=~"/api/menu.*",status_class="5xx"}[$__range]))`,
      `sum(increase(menu_requests_total{${SERVICE}}[$__range]))`,
    ),
    difference: { share: 0.02, why: COUNTED },
  },
  {
    id: 'bad_minutes',
    title: 'Bad minutes',
    audience: 'customers',
    owner: 'Menu team',
    unit: 'none',
    decimals: 0,
    definition: `Minutes with at least ${PIPELINE.smallestMinute} answered lists of which less than ${AVAILABILITY * 100} % were good`,
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: 'a minute with fewer requests says nothing and is grey, not green',
    ifRed: 'the timeline shows since when; compare with the annotations of restarts and outages',
    objective: { better: 'lower', amber: 1, red: 5 },
    sql: sql`SELECT countIf(valid >= ${PIPELINE.smallestMinute} AND good / valid < ${AVAILABILITY}) AS bad_minutes FROM
      (SELECT minute, sumIf(requests, status BETWEEN 200 AND 299) AS good, sumIf(requests, status BETWEEN 200 AND 299 OR status >= 500) AS valid
      FROM menu_requests WHERE ${IN_RANGE} AND route = ${LIST} GROUP BY minute)`,
  },
  {
    id: 'error_budget',
    title: 'Budget left, 30 d',
    audience: 'customers',
    owner: 'Menu team',
    unit: 'percentunit',
    decimals: 0,
    definition: `Over ${BUDGET_DAYS} days: 1 − failed lists ÷ (${((1 - AVAILABILITY) * 100).toFixed(1)} % of answered lists)`,
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: `with less than ${BUDGET_DAYS} days of data it is the budget of the days there are; below 0 it is spent more than once`,
    ifRed: 'stop what risks availability until the cause is mended; the burn rate tells how fast it goes',
    objective: { better: 'higher', amber: 0.5, red: 0 },
    // Without the minutes of `menu_requests`: a month has many.
    sql: sql`SELECT 1 - sumIf(requests, status >= 500) / nullIf(${(1 - AVAILABILITY).toFixed(4)} * sumIf(requests, status BETWEEN 200 AND 299 OR status >= 500), 0)
      AS error_budget FROM (SELECT menu_status AS status, count() AS requests FROM otel_logs WHERE $__timeFilter(toStartOfMinute(Timestamp))
      AND ServiceName IN (\${service:singlequote}) AND menu_route = ${LIST} GROUP BY status)`,
  },
];
