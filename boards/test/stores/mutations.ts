/** Queries that are wrong by a little: each has to make the numbers differ. */
import type { Panel } from '../../preview/query/index.ts';
import type { Language } from './numbers.ts';

/** A mistake in the query of a metric. */
export interface MetricMutation {
  metric: string;
  language: Language;
  what: string;
  change: (query: string) => string;
}

/** A mistake in the first query of a panel. */
export interface PanelMutation {
  title: string;
  what: string;
  change: (query: string) => string;
}

const replace = (from: string | RegExp, to: string) => (query: string) => query.replace(from, to);
const SERVICE = ' AND service IN (${service:singlequote})';
const LOG_SERVICE = ' AND ServiceName IN (${service:singlequote})';

export const METRIC_MUTATIONS: MetricMutation[] = [
  {
    metric: 'menu_availability',
    language: 'sql',
    what: 'the other route',
    change: replace("'/api/menu'", "'/api/menu/{id}'"),
  },
  { metric: 'menu_availability', language: 'sql', what: 'all services', change: replace(SERVICE, '') },
  {
    metric: 'menu_availability',
    language: 'promql',
    what: 'a wrong label',
    change: replace('status_class=~"2xx"', 'status_class=~"4xx"'),
  },
  {
    metric: 'menu_availability',
    language: 'promql',
    what: 'all services',
    change: replace(/service=~"\$service",/g, ''),
  },
  { metric: 'item_availability', language: 'sql', what: '404 is a failure', change: replace(' OR status = 404', '') },
  {
    metric: 'item_availability',
    language: 'promql',
    what: 'no filter of status',
    change: replace(',status=~"2..|404"', ''),
  },
  { metric: 'found', language: 'sql', what: 'what cannot be ordered counts', change: replace(' AND available', '') },
  {
    metric: 'found',
    language: 'sql',
    what: 'what the menu does not have counts',
    change: replace(" AND restaurant != 'unknown'", ''),
  },
  { metric: 'apdex', language: 'promql', what: 'failures count as fast', change: replace('status_class!="5xx",', '') },
  { metric: 'apdex', language: 'promql', what: 'not halved', change: replace(' / 2)', ')') },
  { metric: 'latency_p95', language: 'promql', what: 'the median', change: replace('0.95', '0.5') },
  {
    metric: 'latency_p95',
    language: 'promql',
    what: 'failures and probes too',
    change: replace(/,route=~"[^"]*",status_class="2xx"/, ''),
  },
  { metric: 'affected_requests', language: 'sql', what: '> for >=', change: replace('status >= 500', 'status > 500') },
  {
    metric: 'affected_requests',
    language: 'promql',
    what: 'one route',
    change: replace('/api/menu.*', '/api/menu/.*'),
  },
  { metric: 'bad_minutes', language: 'sql', what: '> for >=', change: replace('valid >= 20', 'valid > 20') },
  { metric: 'bad_minutes', language: 'sql', what: '<= for <', change: replace('good / valid < ', 'good / valid <= ') },
  { metric: 'error_budget', language: 'sql', what: 'another objective', change: replace('0.0010', '0.0100') },
  { metric: 'menu_views', language: 'sql', what: 'failures are views', change: replace('status = 200', 'status > 0') },
  { metric: 'menu_views', language: 'promql', what: 'of all routes', change: replace('route="/api/menu",', '') },
  {
    metric: 'item_views',
    language: 'sql',
    what: 'items that were viewed',
    change: replace('sum(requests)', 'count()'),
  },
  {
    metric: 'view_through',
    language: 'sql',
    what: 'numerator and denominator exchanged',
    change: (query) =>
      query.replace("'/api/menu/{id}'", '@').replace("'/api/menu'", "'/api/menu/{id}'").replace('@', "'/api/menu'"),
  },
  {
    metric: 'unavailable_demand',
    language: 'sql',
    what: 'the opposite',
    change: replace('NOT available', 'available'),
  },
  { metric: 'unserved_demand', language: 'sql', what: 'another status', change: replace('404', '400') },
  {
    metric: 'unserved_demand',
    language: 'promql',
    what: 'another status',
    change: replace('status="404"', 'status="400"'),
  },
  { metric: 'unknown_ids', language: 'sql', what: 'not distinct', change: replace(/uniq\((.*?\])\)/, 'count($1)') },
  { metric: 'unknown_ids', language: 'sql', what: 'all services', change: replace(LOG_SERVICE, '') },
  { metric: 'value_shown', language: 'sql', what: 'each price once', change: replace('requests * price', 'price') },
  { metric: 'lost_revenue_outage', language: 'sql', what: 'a factor of a hundred', change: replace(' / 100', '') },
  {
    metric: 'lost_revenue_outage',
    language: 'sql',
    what: 'all answers are failures',
    change: replace(/status >= 500/g, 'status > 0'),
  },
  {
    metric: 'lost_revenue_outage',
    language: 'sql',
    what: 'the low estimate is the middle one',
    change: replace('estimate / 2', 'estimate'),
  },
  { metric: 'lost_revenue_unavailable', language: 'sql', what: 'a factor of a hundred', change: replace(' / 100', '') },
  {
    metric: 'concentration',
    language: 'sql',
    what: 'the last instead of the first',
    change: replace('max(views)', 'min(views)'),
  },
  { metric: 'throughput', language: 'promql', what: 'a minute', change: replace('$__range_s', '60') },
  { metric: 'throughput', language: 'sql', what: 'a minute', change: replace('($__toTime - $__fromTime)', '60') },
  {
    metric: 'failures',
    language: 'sql',
    what: 'what is no request too',
    change: replace(' AND menu_status > 0', ' AND menu_status = 0'),
  },
  {
    metric: 'failures',
    language: 'promql',
    what: 'another series',
    change: replace('menu_failures_total', 'menu_requests_total'),
  },
  { metric: 'burn_rate', language: 'promql', what: 'another series', change: replace('availability', 'latency') },
  {
    metric: 'service_starts',
    language: 'sql',
    what: 'every line of its life',
    change: replace(/startsWith\(.*?\)/, '1'),
  },
  {
    metric: 'service_starts',
    language: 'promql',
    what: 'another series',
    change: replace('menu_service_starts_total', 'menu_failures_total'),
  },
  {
    metric: 'log_parse_failures',
    language: 'sql',
    what: 'the opposite',
    change: replace('NOT startsWith', 'startsWith'),
  },
  {
    metric: 'log_parse_failures',
    language: 'promql',
    what: 'the opposite',
    change: replace('parsed="false"', 'parsed="true"'),
  },
  {
    metric: 'trace_completeness',
    language: 'sql',
    what: 'failed ones',
    change: replace("SpanKind = 'Server'", "StatusCode = 'Error'"),
  },
  { metric: 'trace_completeness', language: 'sql', what: 'probes too', change: replace("'/api/menu%'", "'/%'") },
  {
    metric: 'newest_row',
    language: 'sql',
    what: 'milliseconds',
    change: replace('toUnixTimestamp(now())', '1000 * toUnixTimestamp(now())'),
  },
  { metric: 'complete_until', language: 'promql', what: 'seconds', change: replace('1000 * ', '') },
  {
    metric: 'completeness',
    language: 'promql',
    what: 'records for items',
    change: replace('hub_items_stored_total', 'hub_records_resolved_total'),
  },
];

export const PANEL_MUTATIONS: PanelMutation[] = [
  {
    title: 'What customers saw',
    what: 'two columns exchanged',
    change: replace('status = 404) AS "404"', 'status = 400) AS "404"'),
  },
  { title: 'What customers saw', what: 'all services', change: replace(SERVICE, '') },
  { title: 'Items', what: 'lost by what can be ordered', change: replace('NOT available', 'available') },
  { title: 'Items', what: 'today for yesterday', change: replace(/ - INTERVAL 1 DAY/g, '') },
  { title: 'Unknown ids', what: 'answered ones', change: replace('menu_status = 404', 'menu_status = 200') },
  { title: 'Views a minute', what: 'half a minute', change: replace(/\* 60/g, '* 30') },
  { title: 'Requests a second', what: 'one route', change: replace('/api/menu.*', '/api/menu/.*') },
  { title: 'Failure reasons', what: 'all services', change: replace('service=~"$service"', '') },
  { title: 'Views by restaurant', what: 'restaurants that were viewed', change: replace('sum(requests)', 'count()') },
  { title: 'Minutes by route', what: 'a laxer objective', change: replace('0.0010', '0.5000') },
];

/** The panel with its first query changed. @throws Error when the change leaves it as it is */
export function mutatedPanel(panel: Panel, { change }: PanelMutation): Panel {
  const [first, ...others] = structuredClone(panel.targets ?? []);
  const key = first?.['rawSql'] === undefined ? 'expr' : 'rawSql';
  const text = String(first?.[key]);
  if (!first || change(text) === text) {
    throw new Error(`nothing was changed: ${text}`);
  }
  return { ...panel, targets: [{ ...first, [key]: change(text) }, ...others] };
}
