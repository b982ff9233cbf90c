/** Boards that break one rule each. */
import type { Panel, Target } from '../../preview/query/index.ts';
import { everyPanel, shownPanels, type Board } from './finding.ts';

/** A change to a generated dashboard that exactly one rule has to refuse. */
export interface Mutation {
  rule: string;
  what: string;
  /** Uid of the board that is changed. */
  board: string;
  change: (board: Board) => void;
}

/** The panel of this title; the first, when a board has two. */
function panel(board: Board, title: string): Panel {
  const found = shownPanels(board).find((each) => each.title === title);
  if (!found) {
    throw new Error(`${board.uid} has no panel "${title}"`);
  }
  return found;
}

/** Changes the text of a panel's first query. A change that changes nothing would prove nothing. */
function rewrite(title: string, from: string | RegExp, to: string, key: 'rawSql' | 'expr' = 'rawSql') {
  return (board: Board) => {
    const target = panel(board, title).targets?.[0] as Target;
    const text = String(target[key]);
    target[key] = text.replace(from, to);
    if (target[key] === text) {
      throw new Error(`"${String(from)}" is not in the query of "${title}": ${text}`);
    }
  };
}

const expr = (title: string, from: string | RegExp, to: string) => rewrite(title, from, to, 'expr');

function defaults(board: Board, title: string): Record<string, unknown> {
  return panel(board, title).fieldConfig?.defaults as Record<string, unknown>;
}

const variable = (board: Board, name: string) =>
  board.templating?.list?.find((each) => each.name === name) ?? { name, type: '' };

const OVERVIEW: Omit<Mutation, 'board'>[] = [
  { rule: 'board-uid', what: 'two boards of one uid', change: (board) => (board.uid = 'slo') },
  {
    rule: 'panel-id',
    what: 'an id twice',
    change: (board) => (panel(board, 'Apdex').id = panel(board, 'Menu success').id),
  },
  { rule: 'no-internal-id', what: "a database's id", change: (board) => (board['id'] = 7) },
  { rule: 'not-editable', what: 'editable', change: (board) => (board['editable'] = true) },
  { rule: 'schema-version', what: 'another version of the model', change: (board) => (board['schemaVersion'] = 41) },
  { rule: 'tags', what: 'the common tag is missing', change: (board) => (board.tags = ['overview']) },
  { rule: 'defaults', what: 'a range of a day', change: (board) => (board.time = { from: 'now-24h', to: 'now' }) },
  {
    rule: 'audiences',
    what: 'no row for engineers',
    change: (board) => {
      const row = everyPanel(board).find(
        ({ type, title }) => type === 'row' && title?.startsWith('Technical'),
      ) as Panel;
      row.title = 'More';
    },
  },
  {
    rule: 'grid-overlap',
    what: 'a panel over its neighbour',
    change: (board) => (panel(board, 'Menu success').gridPos.w += 1),
  },
  { rule: 'grid-hole', what: 'a panel too narrow', change: (board) => (panel(board, 'Burn rate').gridPos.w -= 1) },
  { rule: 'title', what: 'no title', change: (board) => (panel(board, 'Error log').title = ' ') },
  {
    rule: 'description',
    what: 'nothing to do when it is red',
    change: (board) => {
      const found = panel(board, 'Requests a second');
      found.description = found.description?.replace(/\*\*If red:\*\*.*/s, '');
    },
  },
  {
    rule: 'unit',
    what: 'a time series without unit',
    change: (board) => delete defaults(board, 'Requests a second')['unit'],
  },
  {
    rule: 'unit',
    what: 'a unit that Grafana does not know',
    change: (board) => (defaults(board, 'Lag in seconds')['unit'] = 'sec'),
  },
  {
    rule: 'no-value',
    what: 'nothing to show without data',
    change: (board) => delete defaults(board, 'Menu success')['noValue'],
  },
  {
    rule: 'targets',
    what: 'a panel that asks nothing',
    change: (board) => (panel(board, 'Failure reasons').targets = []),
  },
  {
    rule: 'targets',
    what: 'two queries of one name',
    change: (board) => {
      for (const target of panel(board, 'Burn rate').targets ?? []) {
        target.refId = 'A';
      }
    },
  },
  {
    rule: 'data-source',
    what: "one Grafana's data source",
    change: (board) => {
      panel(board, 'Menu success').datasource = { type: 'grafana-clickhouse-datasource', uid: 'P1234' };
    },
  },
  {
    rule: 'data-source',
    what: 'a query of the other store',
    change: (board) => {
      (panel(board, 'Lag in seconds').targets?.[0] as Target).datasource = { type: 'prometheus', uid: '${ch}' };
    },
  },
  {
    rule: 'meaning',
    what: 'another caveat than the metric',
    change: (board) => {
      const found = panel(board, 'Menu success');
      found.description = found.description?.replace(/\*\*Caveat:\*\*[^\n]*/, '**Caveat:** none.');
    },
  },
  {
    rule: 'meaning',
    what: 'another unit than the metric',
    change: (board) => (defaults(board, 'Menu success')['unit'] = 'percent'),
  },
  {
    rule: 'thresholds',
    what: 'a laxer objective',
    change: (board) => {
      (defaults(board, 'Menu success')['thresholds'] as { steps: { value: number }[] }).steps[1]!.value = 0.9;
    },
  },
  {
    rule: 'thresholds',
    what: 'green and red exchanged',
    change: (board) => {
      const { steps } = defaults(board, 'Affected requests')['thresholds'] as { steps: { color: string }[] };
      [steps[0]!.color, steps[2]!.color] = [steps[2]!.color, steps[0]!.color];
    },
  },
  {
    rule: 'thresholds',
    what: 'a line at no limit of ours',
    change: (board) => {
      (defaults(board, 'Burn rate')['thresholds'] as { steps: { value: number }[] }).steps[2]!.value = 10;
    },
  },
  {
    rule: 'sql-service',
    what: 'a subquery of all services',
    change: rewrite('Items', /AND service IN \(\$\{service:singlequote\}\) /, ''),
  },
  { rule: 'sql-time', what: 'all times', change: rewrite('What customers saw', '$__timeFilter(minute)', 'minute > 0') },
  { rule: 'sql-bounded', what: 'no limit', change: rewrite('Unknown ids', / LIMIT 20$/, '') },
  {
    rule: 'sql-star',
    what: 'every column',
    change: rewrite('What customers saw', 'SELECT route,', 'SELECT *, route,'),
  },
  {
    rule: 'sql-time-series',
    what: 'rows in no order',
    change: rewrite('Views a minute', 'ORDER BY time', 'ORDER BY 2'),
  },
  { rule: 'promql-parse', what: 'a parenthesis too few', change: expr('Failure reasons', /\)$/, '') },
  { rule: 'rate-window', what: 'a fixed window', change: expr('Failure reasons', '$__rate_interval', '1m') },
  {
    rule: 'rate-window',
    what: 'a window of one step',
    change: expr('Requests a second', '$__rate_interval', '$__interval'),
  },
  {
    rule: 'counter-in-rate',
    what: 'a counter as it stands',
    change: expr('Failure reasons', /rate\((.*?)\[\$__rate_interval\]\)/, '($1)'),
  },
  {
    rule: 'counter-in-rate',
    what: 'a slope that falls at each restart',
    change: expr('Failure reasons', 'rate(', 'deriv('),
  },
  {
    rule: 'service-matcher',
    what: 'series of all services',
    change: expr('Requests a second', 'service=~"$service",', ''),
  },
  {
    rule: 'variable-known',
    what: 'a variable that is not there',
    change: expr('Failure reasons', '$service', '$service",error=~"$error'),
  },
  {
    rule: 'variable-escaped',
    what: 'values as they are',
    change: rewrite('What customers saw', '${service:singlequote}', '${service:csv}'),
  },
  {
    rule: 'link-board',
    what: 'a board that is not there',
    change: (board) => {
      panel(board, 'Menu success').fieldConfig!.defaults.links![0]!.url = '/d/services?${__url_time_range}';
    },
  },
  { rule: 'link-board', what: 'boards of no tag', change: (board) => (board.links![0]!.tags = ['eventlines']) },
  {
    rule: 'link-variable',
    what: 'a variable that the other board lacks',
    change: (board) => {
      panel(board, 'Lag').fieldConfig!.defaults.links![0]!.url =
        '/d/pipeline-and-lag?${__url_time_range}&var-topic=otlp_logs';
    },
  },
  {
    rule: 'link-range',
    what: 'the range is left behind',
    change: (board) => {
      panel(board, 'Menu success').fieldConfig!.defaults.links![0]!.url = '/d/service?${__all_variables}';
    },
  },
  {
    rule: 'link-field',
    what: 'a field that no query gives',
    change: rewrite('Failed requests', 'AS "Trace"', 'AS "Trace id"'),
  },
];

const OTHERS: Mutation[] = [
  {
    rule: 'variable-used',
    what: 'nothing uses it',
    board: 'stores',
    change: (board) => {
      board.templating?.list?.push({
        ...variable(board, 'job'),
        name: 'topic',
        label: 'Topic',
        query: 'label_values(hub_lag_records, topic)',
        definition: '',
      });
    },
  },
  {
    rule: 'variable-form',
    what: 'choices of another range',
    board: 'slo',
    change: (board) => (variable(board, 'service')['refresh'] = 1),
  },
  {
    rule: 'variable-form',
    what: 'each process is listed',
    board: 'stores',
    change: (board) => (variable(board, 'instance')['allValue'] = null),
  },
  {
    rule: 'variable-source',
    what: "choices of a visitor's text",
    board: 'slo',
    change: (board) => {
      const query =
        "SELECT DISTINCT LogAttributes['menu_item_id'] FROM otel_logs WHERE $__timeFilter(Timestamp) LIMIT 100";
      Object.assign(variable(board, 'service'), { query, definition: query });
    },
  },
  {
    rule: 'variable-escaped',
    what: 'a backslash ends the quotes',
    board: 'service',
    change: rewrite('Lines', "decodeURLComponent('${search:percentencode}')", '${search:sqlstring}'),
  },
  {
    rule: 'variable-escaped',
    what: 'an assumption that is a piece of SQL',
    board: 'business-explorer',
    change: rewrite('Items', "toFloat64OrZero('${order_rate:percentencode}')", '$order_rate'),
  },
  {
    rule: 'process-matchers',
    what: 'series of all programs',
    board: 'stores',
    change: expr('CPU of edges and hubs', 'job=~"$job",', ''),
  },
  {
    rule: 'market-matcher',
    what: 'orders of all markets',
    board: 'incident',
    change: expr('Charged beside confirmed', '{market=~"$market"}', ''),
  },
];

export const MUTATIONS: Mutation[] = [
  ...OVERVIEW.map((mutation) => ({ board: 'platform-overview', ...mutation })),
  ...OTHERS,
];
