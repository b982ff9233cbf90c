/**
 * How long the boards' SQL takes on a large table: `npm run bench -- [--rows 100000000] [--days 30] [--range now-6h] [--keep] [UID …]`.
 *
 * It wants a server (`CLICKHOUSE_URL`) and a database with our schema (`CLICKHOUSE_DATABASE`, made by `hub-consumer migrate`), fills
 * the table of logs with request lines as the edge makes them of the Menu API's log, spans for every tenth of them, and the menu;
 * then it asks each query several times and prints the median of the answers, and the server's own CPU time.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PACKAGE, readArguments } from '../preview/arguments.ts';
import {
  loadDashboard,
  panelsOf,
  parseRange,
  prepareTarget,
  resolveVariables,
  runTarget,
  targetsOf,
  type QueryContext,
  type Source,
} from '../preview/query/index.ts';

const URL = process.env['CLICKHOUSE_URL'] ?? 'http://127.0.0.1:8123';
const DATABASE = process.env['CLICKHOUSE_DATABASE'] ?? 'bench';
const REPEATS = 5;
/** One statement's rows: a day or so, so that a failure loses little. */
const CHUNK = 2_500_000;

const { values, positionals } = readArguments({
  rows: { type: 'string', default: '100000000' },
  days: { type: 'string', default: '30' },
  range: { type: 'string', default: 'now-6h' },
  keep: { type: 'boolean', default: false },
});

async function ask(sql: string, settings: Record<string, string> = {}): Promise<string> {
  const query = new URLSearchParams({ database: DATABASE, ...settings });
  const reply = await fetch(`${URL}/?${query}`, { method: 'POST', body: sql });
  const text = await reply.text();
  if (!reply.ok) {
    throw new Error(`${text.trim()}\n${sql}`);
  }
  return text.trim();
}

/** Request lines `from` to `to` of `rows`, spread evenly over the last days. Every tenth list fails. */
function logs(from: number, to: number, rows: number, days: number): string {
  const nanos = (days * 86_400e9) / rows;
  return `INSERT INTO otel_logs (Timestamp, TraceId, SpanId, SeverityText, SeverityNumber, ServiceName, Body, ResourceAttributes, LogAttributes,
      source_topic, source_partition, source_offset, source_items, received_at)
    WITH cityHash64(number) AS h, h % 100 AS route, intDiv(h, 100) % 6 AS item, intDiv(h, 600) % 100 AS luck,
      (toUnixTimestamp(now()) - ${days} * 86400) * 1000000000 + toInt64(number * ${nanos}) AS time,
      multiIf(route < 5, '/health', route < 45, '/api/menu', concat('/api/menu/', if(item = 5, concat('x', toString(h % 5000)), toString(item + 1)))) AS path,
      multiIf(path = '/health', 200, path = '/api/menu', if(luck < 10, 500, 200), item = 5, 404, 200) AS status,
      toString(round(0.02 + (h % 1000) / 5000, 3)) AS took, multiIf(status = 500, 'restaurant service timeout', status = 404, 'menu item not found', '') AS error,
      lower(hex(sipHash128(number))) AS trace
    SELECT fromUnixTimestamp64Nano(time), trace, left(trace, 16), multiIf(status = 500, 'ERROR', status = 404, 'WARN', 'INFO'), multiIf(status = 500, 17, status = 404, 13, 9), 'mock-service',
      concat('{"timestamp":"', formatDateTime(fromUnixTimestamp64Nano(time), '%FT%TZ'), '","method":"GET","path":"', path, '","status_code":', toString(status), ',"duration_ms":', took, '}'),
      map('service.name', 'mock-service', 'service.namespace', 'production', 'k8s.namespace.name', 'production', 'k8s.pod.name', concat('mock-service-', toString(h % 4)), 'k8s.container.name', 'mock-service'),
      mapFilter((key, value) -> value != '', map('method', 'GET', 'path', path, 'status_code', toString(status), 'duration_ms', took, 'log.iostream', 'stdout', 'message', 'Listed 5 menu items',
        'error', error, 'menu_item_id', if(startsWith(path, '/api/menu/'), substring(path, 11), ''))),
      'otlp_logs', number % 4, intDiv(number, 100), 25, toDateTime(intDiv(time, 1000000000))
    FROM numbers(${from}, ${to - from})`;
}

/** A server span for every tenth line. */
function spans(from: number, to: number): string {
  return `INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName, SpanKind, ServiceName, SpanAttributes, Duration, StatusCode, source_topic, source_partition, source_offset, source_items, received_at)
    SELECT Timestamp, TraceId, SpanId, 'GET', 'Server', ServiceName, map('http.route', menu_route, 'http.response.status_code', toString(menu_status)), toUInt64(toFloat64OrZero(LogAttributes['duration_ms']) * 1e6),
      if(menu_status = 500, 'Error', 'Unset'), 'otlp_spans', source_partition, source_offset, source_items, received_at
    FROM otel_logs WHERE source_offset >= ${Math.floor(from / 100)} AND source_offset < ${Math.floor(to / 100)} AND source_offset % 10 = 0`;
}

async function fill(rows: number, days: number): Promise<void> {
  const there = Number(await ask('SELECT count() FROM otel_logs'));
  const settings = {
    max_insert_threads: '1',
    max_insert_block_size: '100000',
    min_insert_block_size_rows: '100000',
    max_partitions_per_insert_block: '1000',
  };
  for (let from = there; from < rows; from += CHUNK) {
    const to = Math.min(from + CHUNK, rows);
    await ask(logs(from, to, rows, days), settings);
    await ask(spans(from, to), settings);
    console.error(`${to.toLocaleString('en')} rows`);
  }
  await ask(`INSERT INTO menu_items (item_id, valid_from, valid_to, name, restaurant, category, price, available)
    SELECT toString(number + 1), 0, '2106-01-01 00:00:00', concat('dish ', toString(number + 1)), concat('restaurant ', toString(number + 1)), concat('category ', toString(number % 3)), 8.99 + number, number != 2
    FROM numbers(5) WHERE (SELECT count() FROM menu_items) = 0`);
  await ask('SYSTEM RELOAD DICTIONARY menu');
}

const median = (numbers: number[]) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;

async function measure(uid: string, context: Omit<QueryContext, 'variables'>): Promise<void> {
  const board = loadDashboard(readFileSync(join(PACKAGE, '../dashboards', `${uid}.json`), 'utf8'));
  const { variables } = await resolveVariables(board, context);
  console.log(`\n${uid}, ${values.range}\n${'panel'.padEnd(44)}${'median ms'.padStart(10)}${'worst ms'.padStart(10)}`);
  for (const panel of panelsOf(board)) {
    for (const target of targetsOf(panel)) {
      const prepared = prepareTarget(target, { ...context, variables }, panel);
      if (prepared.language !== 'sql' || prepared.text.trim() === '') {
        continue;
      }
      const times: number[] = [];
      for (let repeat = 0; repeat < REPEATS; repeat++) {
        const started = performance.now();
        await runTarget(target, { ...context, variables }, panel);
        times.push(performance.now() - started);
      }
      console.log(
        `${(panel.title ?? '').padEnd(44)}${median(times).toFixed(0).padStart(10)}${Math.max(...times)
          .toFixed(0)
          .padStart(10)}`,
      );
    }
  }
}

/** Only asked to know that it is there. */
const MIMIR: Source = {
  type: 'prometheus',
  uid: 'mimir',
  name: 'Mimir',
  url: 'http://127.0.0.1:9/prometheus',
  tenant: 'bench',
  scrapeInterval: 10_000,
};
const CLICKHOUSE: Source = {
  type: 'grafana-clickhouse-datasource',
  uid: 'clickhouse',
  name: 'ClickHouse',
  url: URL,
  database: DATABASE,
};
await fill(Number(values.rows), Number(values.days));
console.log(
  await ask(
    "SELECT formatReadableQuantity(sum(rows)), formatReadableSize(sum(bytes_on_disk)), count() FROM system.parts WHERE active AND database = currentDatabase() AND table = 'otel_logs' FORMAT TSV",
  ),
);
const range = parseRange(String(values.range), 'now');
for (const uid of positionals.length > 0 ? positionals : ['platform-overview']) {
  await measure(uid, { sources: [CLICKHOUSE, MIMIR], range, http: { fetch } });
}
