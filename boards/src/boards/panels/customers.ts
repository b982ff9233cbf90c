/** Panels for who asks about customers. */
import * as common from '@grafana/grafana-foundation-sdk/common';
import { PanelBuilder as BarChart } from '@grafana/grafana-foundation-sdk/barchart';
import { ThresholdsConfigBuilder, ThresholdsMode } from '@grafana/grafana-foundation-sdk/dashboard';

import { AMBER, BAD, GOOD, NO_DATA, STATUS_COLORS, UNKNOWN, fixed, property, values } from '../../build/look.ts';
import { dataLink, description, legend, lines, states, type Meaning } from '../../build/panels.ts';
import { SERVED, SERVICE } from '../../build/prom.ts';
import { IN_RANGE, LIST, REQUESTS, sql } from '../../build/sql.ts';
import { CLICKHOUSE, MIMIR, ch, range } from '../../build/targets.ts';
import { AVAILABILITY, BURN, LATENCY_SECONDS, PIPELINE } from '../../semantic/slo.ts';
import { SERVICE_BOARD } from './links.ts';

const quantile = (share: number) =>
  `histogram_quantile(${share}, sum by (le) (rate(menu_request_duration_seconds_bucket{${SERVICE},${SERVED},status_class="2xx"}[$__rate_interval])))`;

/** Percentiles of good answers, with exemplars that lead to their traces. */
export function latency() {
  const meaning: Meaning = {
    title: 'Time of good answers',
    definition: '50, 95 and 99 of 100 answers of menu and items with 2xx took no longer',
    source: '`menu_request_duration_seconds` in Mimir; a dot is a single request, and its click opens the trace',
    caveat: 'the time the handler took; failures answer at once and are left out; interpolated within a bucket',
    ifRed: `above ${LATENCY_SECONDS} s: click a high dot, its trace shows which step took the time`,
  };
  return lines(
    meaning,
    MIMIR,
    range(quantile(0.5), 'p50', 'A'),
    range(quantile(0.95), 'p95', 'B').exemplar(true),
    range(quantile(0.99), 'p99', 'C'),
  )
    .unit('s')
    .legend(legend(['lastNotNull', 'max']))
    .dataLinks([dataLink('Traces of this time', SERVICE_BOARD)])
    .thresholds(
      new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([
        { value: null, color: 'transparent' },
        { value: LATENCY_SECONDS, color: AMBER },
      ]),
    )
    .thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Line));
}

/** Each minute of each route: good, bad, or too few requests to say. */
export function badMinutes() {
  const meaning: Meaning = {
    title: 'Minutes by route',
    definition: `A minute is bad when less than ${AVAILABILITY * 100} % of its answers were good; from fewer than ${PIPELINE.smallestMinute} nothing is said`,
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: 'over long ranges a cell is several minutes, and bad when one of them was',
    ifRed: 'the left end of the red is when it began: compare with the restarts and outages that are marked',
  };
  const query = sql`
    SELECT $__timeInterval(minute) AS time, route, max(state) AS state FROM (
      SELECT minute, route, multiIf(sum(requests) < ${PIPELINE.smallestMinute}, 0,
        sumIf(requests, status >= 500) / sum(requests) <= ${(1 - AVAILABILITY).toFixed(4)}, 1, 2) AS state
      FROM menu_requests WHERE ${REQUESTS} GROUP BY minute, route)
    GROUP BY time, route ORDER BY time, route LIMIT 20000`;
  return states(meaning, CLICKHOUSE, ch(query, 'timeseries'))
    .interval('1m')
    .displayName('${__field.labels.route}')
    .mappings([values({ '0': ['few requests', UNKNOWN], '1': ['good', GOOD], '2': ['bad', BAD] })])
    .thresholds(
      new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([
        { value: null, color: UNKNOWN },
        { value: 1, color: GOOD },
        { value: 2, color: BAD },
      ]),
    );
}

/** Answers by route and status. */
export function whatCustomersSaw() {
  const meaning: Meaning = {
    title: 'What customers saw',
    definition: 'Answers of each route, by status',
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: '404 is the right answer to an id that does not exist',
    ifRed: 'a red share is a route that fails: open its traces',
  };
  const query = sql`
    SELECT route, sumIf(requests, status = 200) AS "200", sumIf(requests, status = 400) AS "400", sumIf(requests, status = 404) AS "404",
      sumIf(requests, status = 500) AS "500", sumIf(requests, status NOT IN (200, 400, 404, 500)) AS other
    FROM menu_requests WHERE ${REQUESTS} GROUP BY route ORDER BY route LIMIT 10`;
  const panel = new BarChart()
    .title(meaning.title)
    .description(description(meaning))
    .datasource(CLICKHOUSE)
    .withTarget(ch(query))
    .xField('route')
    .orientation(common.VizOrientation.Horizontal)
    .stacking(common.StackingMode.Percent)
    .showValue(common.VisibilityMode.Never)
    .unit('short')
    .noValue(NO_DATA)
    .legend(legend([]))
    .dataLinks([dataLink('Traces and lines', SERVICE_BOARD)]);
  for (const status of ['200', '400', '404', '500', 'other']) {
    panel.overrideByName(status, fixed(STATUS_COLORS[status] ?? UNKNOWN));
  }
  return panel;
}

/** How fast the error budget is spent, with the lines at which somebody is woken. */
export function burnRate() {
  const meaning: Meaning = {
    title: 'Burn rate',
    definition: `Share of failed lists ÷ ${((1 - AVAILABILITY) * 100).toFixed(1)} %, over 5 minutes, an hour and 6 hours`,
    source: 'recording rules `menu:availability_burn:rate*`, the series that the alerts use',
    caveat: 'from few requests it jumps: an alert asks for a long and a short window together',
    ifRed: `above ${BURN.fast.factor} in both windows a page is on its way: runbook, MenuAvailabilityBurnFast`,
  };
  const burn = (window: string) => `max(menu:availability_burn:rate${window}{${SERVICE}})`;
  return lines(
    meaning,
    MIMIR,
    range(burn('5m'), '5 min', 'A'),
    range(burn('1h'), '1 h', 'B'),
    range(burn('6h'), '6 h', 'C'),
  )
    .unit('none')
    .decimals(1)
    .thresholds(
      new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([
        { value: null, color: 'transparent' },
        { value: BURN.slow.factor, color: AMBER },
        { value: BURN.fast.factor, color: BAD },
      ]),
    )
    .thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Line));
}

/** Menu success over time. */
export function successOverTime() {
  const meaning: Meaning = {
    title: 'Menu success over time',
    definition: 'Lists answered with 2xx ÷ those answered with 2xx or 5xx',
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: 'a gap is a time without requests, not a good one',
    ifRed: `below ${AVAILABILITY * 100} %: see the traces of that time`,
  };
  const query = sql`
    SELECT $__timeInterval(minute) AS time, sumIf(requests, status BETWEEN 200 AND 299)
      / nullIf(sumIf(requests, status BETWEEN 200 AND 299 OR status >= 500), 0) AS "Menu success"
    FROM menu_requests WHERE ${IN_RANGE} AND route = ${LIST} GROUP BY time ORDER BY time LIMIT 20000`;
  return lines(meaning, CLICKHOUSE, ch(query, 'timeseries'))
    .interval('1m')
    .unit('percentunit')
    .max(1)
    .overrideByName('Menu success', [property('color', { mode: 'fixed', fixedColor: GOOD })])
    .dataLinks([dataLink('Traces of this time', SERVICE_BOARD)]);
}
