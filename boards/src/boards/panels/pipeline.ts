/** Panels for who asks whether the numbers can be believed. */
import * as common from '@grafana/grafana-foundation-sdk/common';
import { ThresholdsConfigBuilder, ThresholdsMode } from '@grafana/grafana-foundation-sdk/dashboard';

import { AMBER, BAD, GOOD, UNKNOWN, property, values } from '../../build/look.ts';
import { legend, lines, stat, statOf, states, table, type Meaning } from '../../build/panels.ts';
import { PROCESS } from '../../build/prom.ts';
import { sql, IN_RANGE } from '../../build/sql.ts';
import { CLICKHOUSE, MIMIR, MIXED, ch, instant, range, rows } from '../../build/targets.ts';
import { PIPELINE } from '../../semantic/slo.ts';

/** A line at which something is worth a look, and one at which it is bad. */
function limits(amber: number, red: number) {
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([
    { value: null, color: 'transparent' },
    { value: amber, color: AMBER },
    { value: red, color: BAD },
  ]);
}

/** Counters by reason begin with their first case. Until then there is none, and that is 0 while a hub says so. */
const orNone = (expression: string) =>
  `${expression} or on () label_replace(0 * sum(hub_assigned_partitions), "reason", "none", "", "")`;

const asLine = () => new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Line);

/** The last audit's verdict. */
export function verdict() {
  return stat('audit_residual')
    .mappings([
      values({ '0': ['all stored once', GOOD] }),
      {
        type: 'special' as never,
        options: { match: 'null+nan' as never, result: { text: 'no audit yet', color: UNKNOWN, index: 1 } },
      } as never,
    ])
    .noValue('no audit yet');
}

/** Items a second at each hop. */
export function flow() {
  const meaning: Meaning = {
    title: 'Items a second, hop by hop',
    definition: 'Log records, spans and points: taken by edges, safe with brokers, stored',
    source:
      '`edge_receiver_items_total`, lines of log files among them, `edge_publisher_acked_items_total`, `hub_items_stored_total`',
    caveat: 'a hop that is behind catches up later, above the others',
    ifRed: 'the first hop that falls is where it stands',
  };
  const rate = (name: string) => `sum(rate(${name}[$__rate_interval]))`;
  return lines(
    meaning,
    MIMIR,
    range(rate('edge_receiver_items_total'), 'taken by edges', 'A'),
    range(rate('edge_publisher_acked_items_total'), 'safe with brokers', 'B'),
    range(rate('hub_items_stored_total'), 'stored', 'C'),
  ).unit('short');
}

/** How far behind each topic is. */
export function lagSeconds() {
  const meaning: Meaning = {
    title: 'Lag in seconds',
    definition: "Age of the first record of each topic that is not resolved, by the broker's time; 0 without lag",
    source: '`hub_lag_seconds`, over all partitions, owned or not',
    caveat: 'a gap is a hub that says nothing, not a lag of 0',
    ifRed: 'runbook, DataLate: is the store slow, are hubs missing, or is one partition stuck?',
  };
  return lines(meaning, MIMIR, range('max by (topic) (hub_lag_seconds)', '{{topic}}'))
    .unit('s')
    .thresholds(limits(PIPELINE.lagSecondsAmber, PIPELINE.lagSecondsRed))
    .thresholdsStyle(asLine());
}

/** Lag of every partition over time. */
export function lagRecords() {
  const meaning: Meaning = {
    title: 'Lag in records, by partition',
    definition: 'Records of each partition that are not resolved',
    source: '`hub_lag_records`, over all partitions, owned or not',
    caveat: 'records are requests of many rows',
    ifRed: 'one partition alone: it is stuck or has no owner. All together: the store or the hubs are slow',
  };
  return lines(meaning, MIMIR, range('max by (topic, partition) (hub_lag_records)', '{{topic}} {{partition}}')).unit(
    'short',
  );
}

/** Where each partition stands. */
export function partitions() {
  const meaning: Meaning = {
    title: 'Partitions',
    definition:
      'Lag in records and seconds, time to drain, head-room, and whether a partition is stuck or has no owner',
    source: '`hub_lag_*`',
    caveat: 'no time to drain means that there is no end to it at the rates of the last half minute, or no lag',
    ifRed: 'runbook, PartitionStuck and PartitionOrphaned; head-room at 0 means that retention deletes unread records',
  };
  const by = 'max by (topic, partition)';
  const panel = table(meaning, rows(`${by} (hub_lag_records)`, 'A'), MIMIR, [
    { id: 'joinByLabels', options: { value: '__name__' } },
  ]);
  return panel
    .targets([
      rows(`${by} (hub_lag_records)`, 'Lag'),
      rows(`${by} (hub_lag_seconds)`, 'Behind'),
      rows(`${by} (hub_lag_drain_seconds)`, 'Drain'),
      rows(`${by} (hub_lag_head_room_records)`, 'HeadRoom'),
      rows(`${by} (hub_lag_stuck)`, 'Stuck'),
      rows(`${by} (hub_lag_orphaned)`, 'Orphaned'),
    ])
    .transformations([
      { id: 'merge', options: {} },
      {
        id: 'organize',
        options: {
          excludeByName: { Time: true },
          indexByName: {},
          renameByName: {
            topic: 'Topic',
            partition: 'Partition',
            'Value #Lag': 'Lag',
            'Value #Behind': 'Behind',
            'Value #Drain': 'Time to drain',
            'Value #HeadRoom': 'Head-room',
            'Value #Stuck': 'Stuck',
            'Value #Orphaned': 'No owner',
          },
        },
      },
    ])
    .overrideByName('Behind', [property('unit', 's'), property('decimals', 1)])
    .overrideByName('Time to drain', [property('unit', 's'), property('noValue', 'no end')])
    .overrideByRegexp('/Stuck|No owner/', [
      property('mappings', [values({ '0': ['no', GOOD], '1': ['yes', BAD] })]),
      property('custom.cellOptions', { type: 'color-text' }),
    ]);
}

/** Records that come and go. */
export function inAndOut() {
  const meaning: Meaning = {
    title: 'Records in and out',
    definition: 'Records a second that topics take, and that are resolved',
    source: '`hub_log_end_offset` and `hub_records_resolved_total`',
    caveat: 'offsets also count what transactions put into a topic',
    ifRed: 'out below in for minutes: lag grows; see time to drain',
  };
  return lines(
    meaning,
    MIMIR,
    range('sum(max by (topic, partition) (deriv(hub_log_end_offset[$__rate_interval])))', 'in', 'A'),
    range('sum(rate(hub_records_resolved_total[$__rate_interval]))', 'out', 'B'),
  ).unit('short');
}

/** How long until lag is gone, and how much retention leaves. */
export function drainAndHeadRoom() {
  const meaning: Meaning = {
    title: 'Time to drain',
    definition: "Time until a topic's lag is gone, at the rates of the last half minute",
    source: '`hub_lag_drain_seconds`',
    caveat: 'a gap while there is lag means that it never ends at these rates',
    ifRed: 'above half an hour and rising: add hubs, or find what holds the store back',
  };
  return lines(meaning, MIMIR, range('max by (topic) (hub_lag_drain_seconds)', '{{topic}}'))
    .unit('s')
    .thresholds(limits(PIPELINE.drainSecondsRed / 2, PIPELINE.drainSecondsRed))
    .thresholdsStyle(asLine());
}

/** How much of the log is still before the committed position. */
export function headRoom() {
  const meaning: Meaning = {
    title: 'Head-room before retention',
    definition:
      'Of the records that a partition keeps, the share before the committed position; the smallest of a topic',
    source: '`hub_lag_head_room_records`, `hub_log_end_offset`, `hub_log_start_offset`',
    caveat: '1 without lag; an empty partition has none and is left out',
    ifRed: "at 0 retention deletes unread records, with no growing lag to warn: lengthen the topic's retention at once",
  };
  const kept = '(max by (topic, partition) (hub_log_end_offset) - max by (topic, partition) (hub_log_start_offset))';
  return lines(
    meaning,
    MIMIR,
    range(`min by (topic) (max by (topic, partition) (hub_lag_head_room_records) / (${kept} > 0))`, '{{topic}}'),
  )
    .unit('percentunit')
    .max(1)
    .min(0);
}

/** What edges keep on their disks. */
export function spool() {
  const meaning: Meaning = {
    title: "On edges' disks",
    definition: 'Bytes that no broker has acknowledged, and the bytes that the spool may have',
    source: '`edge_spool_disk_bytes`, `edge_spool_quota_bytes`',
    caveat: "a spool's files shrink by whole segments",
    ifRed: 'are the brokers reachable? *Time to full* tells how long the disks last',
  };
  return lines(
    meaning,
    MIMIR,
    range(`sum by (instance) (edge_spool_pending_bytes{${PROCESS}})`, '{{instance}} waiting', 'A'),
    range(`sum by (instance) (edge_spool_quota_bytes{${PROCESS}})`, '{{instance}} quota', 'B'),
  ).unit('bytes');
}

/** How long edges' disks last. */
export function timeToFull() {
  const meaning: Meaning = {
    title: 'Time to full',
    definition: "Time until an edge's spool is full, at the growth of the last 5 minutes",
    source: '`edge_spool_disk_bytes`, `edge_spool_quota_bytes`',
    caveat: 'a gap means that it does not grow',
    ifRed:
      'below two hours: bring the brokers back, or give the spool more room; a full spool refuses and senders keep their data',
  };
  const growth = `sum by (instance) (deriv(edge_spool_disk_bytes{${PROCESS}}[5m]))`;
  const free = `(sum by (instance) (edge_spool_quota_bytes{${PROCESS}}) - sum by (instance) (edge_spool_disk_bytes{${PROCESS}}))`;
  return lines(meaning, MIMIR, range(`${free} / (${growth} > 0)`, '{{instance}}')).unit('s');
}

/** Refusals, by reason. */
export function refused() {
  const meaning: Meaning = {
    title: 'Requests that edges answered',
    definition: 'Requests a second, by HTTP status or gRPC code',
    source: '`edge_receiver_requests_total`',
    caveat: "503, 429 and code 14 are 'retry later': the sender has the data",
    ifRed: "refusals with free disks mean that memory or the producer's queue is the limit",
  };
  return lines(
    meaning,
    MIMIR,
    range(
      `sum by (transport, code) (rate(edge_receiver_requests_total{${PROCESS}}[$__rate_interval]))`,
      '{{transport}} {{code}}',
    ),
  ).unit('reqps');
}

/** Log files: what is behind, and what is gone. */
export function logFiles() {
  const meaning: Meaning = {
    title: 'Log files',
    definition: 'Bytes that are not durable yet, and bytes that were deleted unread',
    source: '`edge_filelog_lag_bytes`, `edge_filelog_lost_bytes_total`',
    caveat: 'lost bytes are lost: a rotation was faster than the reader',
    ifRed: "raise the container runtime's log size or count; find who writes that much",
  };
  return lines(
    meaning,
    MIMIR,
    range(`sum by (instance) (edge_filelog_lag_bytes{${PROCESS}})`, '{{instance}} behind', 'A'),
    range(
      `sum by (instance) (increase(edge_filelog_lost_bytes_total{${PROCESS}}[$__rate_interval]))`,
      '{{instance}} lost',
      'B',
    ),
  ).unit('bytes');
}

/** How long a store takes for an insert. */
export function insertTime() {
  const meaning: Meaning = {
    title: 'Time of an insert',
    definition: '99 of 100 requests to a store took no longer',
    source: '`hub_insert_duration_seconds`',
    caveat: 'retries are requests of their own',
    ifRed: 'look at the store: merges, disk, memory. Hubs pause and nothing is lost',
  };
  const expression = `histogram_quantile(0.99, sum by (le, signal) (rate(hub_insert_duration_seconds_bucket{${PROCESS}}[$__rate_interval])))`;
  return lines(meaning, MIMIR, range(expression, '{{signal}}')).unit('s');
}

/** Why inserts are tried again. */
export function retries() {
  const meaning: Meaning = {
    title: 'Inserts that were tried again',
    definition: 'Requests to a store that did not store, by reason',
    source: '`hub_insert_retries_total`',
    caveat: 'an outage of a store shows here first, and as lag later',
    ifRed: "the reason is the store's own: runbook, SinkFailing",
  };
  return lines(
    meaning,
    MIMIR,
    range(
      orNone(`sum by (signal, reason) (rate(hub_insert_retries_total{${PROCESS}}[$__rate_interval]))`),
      '{{signal}} {{reason}}',
    ),
  ).unit('reqps');
}

/** Dead letters by reason. */
export function deadLetters() {
  const meaning: Meaning = {
    title: 'Dead letters',
    definition: 'Records that were put aside, by signal and reason',
    source: '`hub_dead_lettered_total`',
    caveat: 'a record of a batch counts once, however many rows it has',
    ifRed: 'runbook, DeadLetters: mend the cause, then `hub-consumer redrive`',
  };
  return lines(
    meaning,
    MIMIR,
    range(
      orNone(`sum by (signal, reason) (increase(hub_dead_lettered_total{${PROCESS}}[$__rate_interval]))`),
      '{{signal}} {{reason}}',
    ),
  ).unit('short');
}

/** Whether programs do their work, and what holds them up. */
export function readiness() {
  const meaning: Meaning = {
    title: 'Ready',
    definition: "Each condition of each program's readiness: holds, or does not",
    source: '`ready_condition`',
    caveat: 'a gap is a program that says nothing',
    ifRed: "the program's `/readyz` says why, in words",
  };
  return states(meaning, MIMIR, range(`min by (job, condition) (ready_condition{${PROCESS}})`, '{{job}} {{condition}}'))
    .mappings([values({ '0': ['not ready', BAD], '1': ['ready', GOOD] })])
    .thresholds(
      new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([
        { value: null, color: BAD },
        { value: 1, color: GOOD },
      ]),
    );
}

/** What programs cost. */
export function cost(name: 'cpu' | 'memory') {
  const isCpu = name === 'cpu';
  const meaning: Meaning = {
    title: isCpu ? 'CPU of edges and hubs' : 'Memory of edges and hubs',
    definition: isCpu ? 'Cores used' : 'Resident memory',
    source: isCpu ? '`process_cpu_seconds_total`' : '`process_resident_memory_bytes`',
    caveat: 'of the process alone, without what the kernel caches for it',
    ifRed: 'no objective; memory has a bound by configuration (ARCHITECTURE.md, Memory)',
  };
  const expression = isCpu
    ? `sum by (job, instance) (rate(process_cpu_seconds_total{${PROCESS}}[$__rate_interval]))`
    : `sum by (job, instance) (process_resident_memory_bytes{${PROCESS}})`;
  return lines(meaning, MIMIR, range(expression, '{{job}} {{instance}}'))
    .unit(isCpu ? 'none' : 'bytes')
    .legend(legend(['lastNotNull']));
}

/** The derived counters beside the rows that they were derived from. */
export function derivedBesideRows() {
  const meaning: Meaning = {
    title: 'Derived counters beside rows',
    definition: 'Requests of the range as Mimir counts them and as ClickHouse has them, and the difference',
    source: '`menu_requests_total` and `menu_requests`',
    caveat:
      'a kill -9 of a hub leaves up to one export interval uncounted in Mimir, and a replay is never counted there; the rows are exact',
    ifRed: 'a difference that stays: look at `hub_derive_pushes_total` and at restarts of hubs',
  };
  return statOf(
    meaning,
    instant('sum(increase(menu_requests_total{service=~"$service"}[$__range]))', 'counted', 'A'),
    MIXED,
  )
    .targets([
      instant('sum(increase(menu_requests_total{service=~"$service"}[$__range]))', 'counted', 'A'),
      ch(sql`SELECT sum(requests) AS "rows" FROM menu_requests WHERE ${IN_RANGE}`, 'table', 'B'),
    ])
    .transformations([
      { id: 'concatenate', options: { frameNameMode: 'drop' } },
      { id: 'organize', options: { excludeByName: { Time: true }, indexByName: {}, renameByName: {} } },
      {
        id: 'calculateField',
        options: { mode: 'binary', alias: 'difference', binary: { left: 'counted', operator: '-', right: 'rows' } },
      },
    ])
    .unit('locale')
    .decimals(0);
}

/** Series that the hub derives, and what it left out. */
export function deriving() {
  const meaning: Meaning = {
    title: 'Deriving',
    definition: 'Seconds since each hub last pushed derived series, and values and label sets that it left out',
    source: '`hub_derive_last_push_timestamp_seconds`, `hub_derive_bad_values_total`, `hub_derive_overflow_total`',
    caveat: 'absent when derivation is off',
    ifRed: 'pushes that fail wait and lose nothing while the hub lives; see its log',
  };
  return lines(
    meaning,
    MIMIR,
    range(
      `time() - (max by (instance) (hub_derive_last_push_timestamp_seconds{${PROCESS}}) > 0)`,
      '{{instance}} since the last push',
      'A',
    ),
    range(`sum(rate(hub_derive_bad_values_total{${PROCESS}}[$__rate_interval]))`, 'bad values', 'B'),
    range(`sum(rate(hub_derive_overflow_total{${PROCESS}}[$__rate_interval]))`, 'beyond the cap', 'C'),
  ).unit('short');
}

/** Rows and bytes of each table. */
export function tableSizes() {
  const meaning: Meaning = {
    title: 'Tables',
    definition: 'Rows, parts, and bytes on disk of each table, and its oldest and newest day',
    source: 'ClickHouse `system.parts`',
    caveat: 'of the server that answers; on a cluster each has its share',
    ifRed: 'above a few hundred active parts in a partition merges do not keep up: fewer and larger inserts',
  };
  const query = sql`
    SELECT table AS "Table", sum(rows) AS "Rows", count() AS "Parts", sum(bytes_on_disk) AS "On disk",
      sum(bytes_on_disk) / nullIf(sum(rows), 0) AS "Bytes a row", min(partition) AS "Oldest", max(partition) AS "Newest"
    FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY "On disk" DESC LIMIT 50`;
  return table(meaning, ch(query), CLICKHOUSE)
    .overrideByName('On disk', [property('unit', 'bytes')])
    .overrideByName('Bytes a row', [property('decimals', 1)]);
}

/** What is on which volume. */
export function tiers() {
  const meaning: Meaning = {
    title: 'Storage tiers',
    definition: 'Bytes of each table on each disk',
    source: 'ClickHouse `system.parts`',
    caveat: 'parts move after `hot_days`, when the storage policy has a cold volume',
    ifRed:
      'nothing on the cold disk after a week: is the storage policy set? See docs/configuration.md, clickhouse.schema',
  };
  const query = sql`
    SELECT disk_name AS "Disk", table AS "Table", sum(bytes_on_disk) AS "Bytes" FROM system.parts
    WHERE active AND database = currentDatabase() GROUP BY disk_name, table ORDER BY "Bytes" DESC LIMIT 50`;
  return table(meaning, ch(query), CLICKHOUSE).overrideByName('Bytes', [property('unit', 'bytes')]);
}

/** Rows that come in, by signal. */
export function rowsIn() {
  const meaning: Meaning = {
    title: 'Rows stored a minute',
    definition: 'Log records and spans a minute, by the time at which the broker had them',
    source: '`received_at` in ClickHouse `otel_logs` and `otel_traces`',
    caveat: 'rows that a replay brings are at the minute at which the broker had them',
    ifRed: 'no objective; compare with *Items a second, hop by hop*',
  };
  const of = (tableName: string, name: string) =>
    `SELECT $__timeInterval(received_at) AS time, '${name}' AS signal, count() * 60 / $__interval_s AS rows FROM ${tableName} WHERE $__timeFilter(Timestamp) AND received_at > 0 GROUP BY time`;
  const query = sql`SELECT time, signal, rows FROM (${of('otel_logs', 'logs')} UNION ALL ${of('otel_traces', 'spans')}) ORDER BY time, signal LIMIT 20000`;
  return lines(meaning, CLICKHOUSE, ch(query, 'timeseries'))
    .interval('1m')
    .unit('short')
    .displayName('${__field.labels.signal}');
}
