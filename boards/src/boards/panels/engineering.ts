/** Panels for who has to find the cause. */
import * as common from '@grafana/grafana-foundation-sdk/common';
import { PanelBuilder as Heatmap } from '@grafana/grafana-foundation-sdk/heatmap';
import { PanelBuilder as Logs } from '@grafana/grafana-foundation-sdk/logs';
import { PanelBuilder as Generic } from '@grafana/grafana-foundation-sdk/dashboard';

import { NO_DATA, STATUS_COLORS, fixed, property } from '../../build/look.ts';
import { bars, dataLink, description, legend, lines, table, type Meaning } from '../../build/panels.ts';
import { SERVICE } from '../../build/prom.ts';
import { LOG_ROWS, sql, written } from '../../build/sql.ts';
import { CLICKHOUSE, MIMIR, buckets, ch, range } from '../../build/targets.ts';
import { SERVICE_BOARD, traceOf } from './links.ts';

function byStatusClass<P extends { overrideByRegexp(pattern: string, properties: unknown[]): P }>(panel: P): P {
  for (const name of ['2xx', '3xx', '4xx', '5xx']) {
    panel.overrideByRegexp(`/${name}/`, fixed(STATUS_COLORS[name] ?? ''));
  }
  return panel;
}

/** Requests a second by route and class of status. */
export function requestRate() {
  const meaning: Meaning = {
    title: 'Requests a second',
    definition: 'Requests by class of status',
    source: '`menu_requests_total` in Mimir',
    caveat: 'probes of `/health` are left out',
    ifRed: 'a red share is what fails: the panel beside it says why',
  };
  const expression = `sum by (status_class) (rate(menu_requests_total{${SERVICE},route=~"/api/menu.*"}[$__rate_interval]))`;
  const panel = bars(meaning, MIMIR, range(expression, '{{status_class}}'))
    .unit('reqps')
    .dataLinks([dataLink('Traces of this time', SERVICE_BOARD)]);
  return byStatusClass(panel as never) as typeof panel;
}

/** Why requests fail. */
export function failureReasons() {
  const meaning: Meaning = {
    title: 'Failure reasons',
    definition: 'Requests a second whose line names an error, by error',
    source: '`menu_failures_total` in Mimir, from the attribute `error`',
    caveat: 'errors are a closed list; what is not on it is `other`',
    ifRed: 'click it: the traces of that time; the text of an `other` is in the log panel',
  };
  const expression = `sum by (error) (rate(menu_failures_total{${SERVICE}}[$__rate_interval]))`;
  return bars(meaning, MIMIR, range(expression, '{{error}}'))
    .unit('reqps')
    .overrideByName('restaurant service timeout', fixed(STATUS_COLORS['5xx'] ?? ''))
    .overrideByName('menu item not found', fixed(STATUS_COLORS['4xx'] ?? ''))
    .dataLinks([dataLink('Failed traces of this time', SERVICE_BOARD)]);
}

/** How long requests take, all of them. */
export function latencyHeatmap() {
  const meaning: Meaning = {
    title: 'Time of server spans',
    definition: 'How many server spans took how long',
    source: '`span_duration_seconds` in Mimir, from spans',
    caveat: "failures are in it; the time the service's span covers, which is a little more than the log's",
    ifRed: 'a second band that rises is a dependency that is slow for some: open a slow trace',
  };
  return new Heatmap()
    .title(meaning.title)
    .description(description(meaning))
    .datasource(MIMIR)
    .withTarget(
      buckets(`sum by (le) (increase(span_duration_seconds_bucket{${SERVICE},span_kind="server"}[$__rate_interval]))`),
    )
    .calculate(false)
    .cellGap(1)
    .unit('s')
    .noValue(NO_DATA);
}

const ERROR_LINES = sql`
  SELECT Timestamp AS "timestamp", Body AS "body", SeverityText AS "level", ServiceName AS "service", TraceId AS "traceID"
  FROM otel_logs WHERE ${LOG_ROWS} AND SeverityNumber >= 13 AND positionCaseInsensitive(Body, ${written('search')}) > 0
  ORDER BY Timestamp DESC LIMIT 200`;

/** Lines of errors and warnings. */
export function errorLog() {
  const meaning: Meaning = {
    title: 'Error log',
    definition: 'Lines of severity WARN and above of the chosen services, newest first',
    source: 'ClickHouse `otel_logs`',
    caveat: 'the newest 200; narrow the range to see older ones',
    ifRed: 'open a line: its trace id leads to the trace',
  };
  return new Logs()
    .title(meaning.title)
    .description(description(meaning))
    .datasource(CLICKHOUSE)
    .withTarget(ch(ERROR_LINES.replace(/ AND positionCaseInsensitive\(.*?\) > 0/, ''), 'logs'))
    .showTime(true)
    .wrapLogMessage(false)
    .enableLogDetails(true)
    .sortOrder(common.LogsSortOrder.Descending)
    .dedupStrategy(common.LogsDedupStrategy.None)
    .noValue(NO_DATA)
    .overrideByName('traceID', [property('links', [{ title: 'Trace', url: traceOf('traceID') }])]);
}

/** Lines that hold a text. */
export function searchableLog() {
  const meaning: Meaning = {
    title: 'Lines',
    definition: 'Lines of severity WARN and above that hold the text of the variable *Search*',
    source: 'ClickHouse `otel_logs`',
    caveat: 'the newest 200',
    ifRed: 'open a line: its trace id leads to the trace',
  };
  return errorLog()
    .title(meaning.title)
    .description(description(meaning))
    .targets([ch(ERROR_LINES, 'logs')]);
}

function traces(meaning: Meaning, condition: string, order: string) {
  const query = sql`
    SELECT Timestamp AS "Time", TraceId AS "Trace", SpanName AS "Operation", SpanAttributes['http.response.status_code'] AS "Status",
      Duration / 1e6 AS "Duration" FROM otel_traces
    WHERE $__timeFilter(Timestamp) AND ServiceName IN (\${service:singlequote}) AND SpanKind = 'Server' AND ${condition} ORDER BY ${order} LIMIT 50`;
  return table(meaning, ch(query), CLICKHOUSE)
    .overrideByName('Trace', [
      property('links', [{ title: 'Draw this trace', url: traceOf('Trace') }]),
      property('custom.width', 90),
    ])
    .overrideByName('Duration', [property('unit', 'ms'), property('decimals', 2), property('custom.width', 85)])
    .overrideByName('Status', [property('custom.width', 65)])
    .overrideByName('Operation', [property('custom.width', 140)])
    .overrideByName('Time', [property('unit', 'time:HH:mm:ss'), property('custom.width', 80)]);
}

/** Requests that failed, each with its trace. */
export const failedTraces = () =>
  traces(
    {
      title: 'Failed requests',
      definition: 'Server spans with status Error, newest first',
      source: 'ClickHouse `otel_traces`',
      caveat: 'the newest 50',
      ifRed: 'click a trace: the span with the error is where it failed',
    },
    "StatusCode = 'Error'",
    'Timestamp DESC',
  );

/** Requests that took longest. */
export const slowTraces = () =>
  traces(
    {
      title: 'Slowest requests',
      definition: 'Server spans of menu and items, longest first',
      source: 'ClickHouse `otel_traces`',
      caveat: 'the 50 longest of the range',
      ifRed: 'click a trace: the longest step is where the time went',
    },
    "SpanAttributes['http.route'] LIKE '/api/menu%'",
    'Duration DESC',
  );

/** The spans of one trace, as Grafana's trace view wants them. */
export function waterfall() {
  const meaning: Meaning = {
    title: 'Trace ${trace_id}',
    definition: 'All spans of one request, of every service',
    source: 'ClickHouse `otel_traces`, its days from `otel_traces_trace_id_ts`',
    caveat: 'a trace that is still running, or whose spans are late, is drawn as far as it is stored',
    ifRed: 'the red span is where it failed; its attributes say of what',
  };
  const query = sql`
    WITH ${written('trace_id')} AS id, (SELECT min(Start) FROM otel_traces_trace_id_ts WHERE TraceId = id) AS first,
      (SELECT max(End) + 1 FROM otel_traces_trace_id_ts WHERE TraceId = id) AS last
    SELECT TraceId AS traceID, SpanId AS spanID, ParentSpanId AS parentSpanID, ServiceName AS serviceName, SpanName AS operationName,
      toUnixTimestamp64Milli(Timestamp) AS startTime, Duration / 1e6 AS duration,
      arrayMap(key -> map('key', key, 'value', SpanAttributes[key]), mapKeys(SpanAttributes)) AS tags,
      arrayMap(key -> map('key', key, 'value', ResourceAttributes[key]), mapKeys(ResourceAttributes)) AS serviceTags,
      if(StatusCode = 'Error', 2, 0) AS statusCode
    FROM otel_traces WHERE TraceId = id AND Timestamp >= first AND Timestamp <= last ORDER BY startTime LIMIT 1000`;
  return new Generic()
    .type('traces')
    .title(meaning.title)
    .description(description(meaning))
    .datasource(CLICKHOUSE)
    .withTarget(ch(query, 'traces'))
    .fieldConfig({ defaults: { noValue: 'choose a trace in a table above' }, overrides: [] });
}

/** The lines of one trace. */
export function linesOfTrace() {
  const meaning: Meaning = {
    title: 'Lines of trace ${trace_id}',
    definition: 'Log lines that carry the id of the trace',
    source: 'ClickHouse `otel_logs`',
    caveat: 'a line that was printed without its trace id is not here',
    ifRed: "the ERROR line is the service's own account of the failure",
  };
  const query = sql`
    WITH ${written('trace_id')} AS id, (SELECT min(Start) FROM otel_traces_trace_id_ts WHERE TraceId = id) AS first,
      (SELECT max(End) + 1 FROM otel_traces_trace_id_ts WHERE TraceId = id) AS last
    SELECT Timestamp AS "timestamp", Body AS "body", SeverityText AS "level", ServiceName AS "service", TraceId AS "traceID"
    FROM otel_logs WHERE TraceId = id AND TraceId != '' AND Timestamp >= first - 60 AND Timestamp <= last + 60 ORDER BY Timestamp LIMIT 200`;
  return errorLog()
    .title(meaning.title)
    .description(description(meaning))
    .targets([ch(query, 'logs')]);
}

/** Rate, errors and duration of every service that has spans. */
export function redTable() {
  const meaning: Meaning = {
    title: 'Server spans by route',
    definition: 'Spans a second, share of errors, and p95, by service and route, over the range',
    source: '`span_duration_seconds` in Mimir, from spans',
    caveat: 'routes are a closed list; others are `other`',
    ifRed: 'a share of errors above 0.1 % spends the error budget',
  };
  const by = 'service, route';
  const all = `sum by (${by}) (increase(span_duration_seconds_count{${SERVICE}}[$__range]))`;
  const bad = `sum by (${by}) (increase(span_duration_seconds_count{${SERVICE},status_class=~"5xx|error"}[$__range]))`;
  const p95 = `histogram_quantile(0.95, sum by (le, ${by}) (increase(span_duration_seconds_bucket{${SERVICE}}[$__range])))`;
  return lines(
    meaning,
    MIMIR,
    range(`${all} / $__range_s`, '{{service}} {{route}} rate', 'A'),
    range(`(${bad} or 0 * ${all}) / ${all}`, '{{service}} {{route}} errors', 'B'),
    range(p95, '{{service}} {{route}} p95', 'C'),
  ).legend(legend(['lastNotNull']));
}

/** Requests a second of each route, from spans. */
export function spanRate() {
  const meaning: Meaning = {
    title: 'Server spans a second',
    definition: 'Server spans a second, by route and class of status',
    source: '`span_duration_seconds_count` in Mimir, from spans',
    caveat: 'with sampling it would be too small; the service samples everything',
    ifRed: 'compare with *Requests a second*, which comes from the log: they differ when traces are missing',
  };
  const expression = `sum by (route, status_class) (rate(span_duration_seconds_count{${SERVICE},span_kind="server"}[$__rate_interval]))`;
  return lines(meaning, MIMIR, range(expression, '{{route}} {{status_class}}')).unit('reqps');
}
