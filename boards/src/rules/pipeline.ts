/** What wakes somebody because of the pipeline itself. */
import { PIPELINE } from '../semantic/slo.ts';
import type { Alert, Group, Recording } from './types.ts';

const BOARD = 'pipeline-and-lag';
const PARTITION = 'max by (topic, partition)';

/** A series that is there while requests could be missing from the derived series though the service has answered them. */
export const IN_DOUBT = 'pipeline:in_doubt';

/** Hubs that have pushed what they derive. One that has nothing to push yet says 0. */
const PUSHED = 'max by (instance) (hub_derive_last_push_timestamp_seconds) > 0';
const CANNOT_PUSH = 'max by (instance) (degraded_condition{condition="derive"}) == 1';

/** Hubs that do not push it any more, or never could. */
const UNPUSHED = `time() - (${PUSHED}) > 120 or ${CANNOT_PUSH}`;

/**
 * Signs of that: data is late or nobody reads it, half of the edges or of the hubs' connections are cut off, half of the hubs
 * that derive do not push, or edges or hubs say nothing at all.
 */
const DOUBTS: Recording = {
  record: IN_DOUBT,
  expression: [
    `count(hub_lag_seconds > ${PIPELINE.lagSecondsRed} or hub_lag_stuck == 1 or hub_lag_orphaned == 1)`,
    'avg(edge_broker_up) <= 0.5',
    'avg(ready_condition{condition=~"kafka_.+"}) <= 0.5',
    `count(${UNPUSHED}) >= 0.5 * count(${PUSHED} or ${CANNOT_PUSH})`,
    silent('hub_lag_records'),
    silent('edge_broker_up'),
  ].join(' or '),
};

/** Of nobody there was a sample for two minutes. The lookback of an instant query would see the last ones of a killed process for five. */
function silent(metric: string): string {
  return `absent_over_time(${metric}[2m])`;
}

/** Room that a spool has left. Its quota falls while spools of other signals grow, so its own growth does not tell when it is full. */
const ROOM = 'edge:spool_room_bytes';

/**
 * What was counted in a window, by series. One that began in it has counted all of its value there: many begin with their first
 * case, and a hub that starts behind a backlog has stored it before its first sample.
 */
function counted(counter: string, window: string): string {
  return `${newborn(counter, window)} or increase(${counter}[${window}])`;
}

const newborn = (counter: string, window: string) =>
  `last_over_time(${counter}[${window}]) unless ${before(counter, window)}`;

/** The last value before a window; a store that was away for hours does not make its series new. */
const before = (counter: string, window: string) => `last_over_time(${counter}[6h] offset ${window})`;

/** The same to the last item, of what is counted so rarely that no restart in the window matters. `increase` would extrapolate. */
function cases(counter: string): string {
  const now = `last_over_time(${counter}[15m])`;
  return `${now} - ${before(counter, '15m')} >= 0 or ${now}`;
}

/** An alert of the platform's own team. */
const platform = (alert: Omit<Alert, 'owner'>): Alert => ({ ...alert, owner: 'Platform' });

const LAG: Alert[] = [
  platform({
    name: 'DataLate',
    expression: `max by (topic) (hub_lag_seconds) > ${PIPELINE.lagSecondsRed}`,
    holds: '5m',
    severity: 'page',
    summary: '{{ $labels.topic }} is {{ $value | humanizeDuration }} behind',
    description: 'The newest data is not on any board, and alerts made of it are late by as much.',
    panel: [BOARD, 'Lag in seconds'],
  }),
  platform({
    name: 'LagNotDraining',
    // By partition: one without an end has no time to drain, and those beside it have.
    expression: `max by (topic) (${PARTITION} (hub_lag_records) > 1000 unless ${PARTITION} (hub_lag_drain_seconds) < ${PIPELINE.drainSecondsRed})`,
    holds: '10m',
    severity: 'ticket',
    summary: 'the lag of {{ $labels.topic }} does not end within half an hour at this rate',
    description:
      'More comes in than is stored, or nearly so. When retention catches up with the lag, unread records are deleted.',
    panel: [BOARD, 'Time to drain'],
  }),
  platform({
    name: 'PartitionStuck',
    expression: `${PARTITION} (hub_lag_stuck) == 1`,
    holds: '5m',
    severity: 'page',
    summary: 'partition {{ $labels.partition }} of {{ $labels.topic }} has lag and does not move',
    description:
      "Its hub waits for something: its sink, an operator's choice, or a read-back. The hub's /readyz says for what.",
    panel: [BOARD, 'Partitions'],
  }),
  platform({
    name: 'PartitionOrphaned',
    expression: `${PARTITION} (hub_lag_orphaned) == 1`,
    holds: '2m',
    severity: 'page',
    summary: 'no hub reads partition {{ $labels.partition }} of {{ $labels.topic }}',
    description: 'Hubs of the group are missing, or cannot join it. Its lag grows until one does.',
    panel: [BOARD, 'Partitions'],
  }),
  platform({
    name: 'HeadRoomLow',
    // A log that still begins at 0 has lost nothing to retention, however little of it is read.
    expression:
      `${PARTITION} (hub_lag_head_room_records) / (${PARTITION} (hub_log_end_offset) - ${PARTITION} (hub_log_start_offset) > 0) < ${PIPELINE.headRoomShareRed}` +
      ` and ${PARTITION} (hub_lag_records) > 0 and ${PARTITION} (hub_log_start_offset) > 0`,
    holds: '5m',
    severity: 'page',
    summary: 'retention comes close to the position of partition {{ $labels.partition }} of {{ $labels.topic }}',
    description:
      "When it passes, records are deleted that nobody has read. Lengthen the topic's retention before anything else.",
    panel: [BOARD, 'Head-room before retention'],
  }),
];

const EDGES: Alert[] = [
  platform({
    name: 'BrokerUnreachable',
    expression: 'max by (instance) (edge_broker_up) == 0',
    holds: '5m',
    severity: 'ticket',
    summary: 'edge {{ $labels.instance }} reaches no broker',
    description: 'What it takes goes to its disk, and nothing is lost while there is room.',
    panel: [BOARD, "On edges' disks"],
  }),
  platform({
    name: 'SpoolFullSoon',
    expression: `${ROOM} / (-deriv(${ROOM}[10m]) > 0) < ${PIPELINE.spoolSecondsToFullRed}`,
    holds: '5m',
    severity: 'page',
    summary: 'the {{ $labels.signal }} spool of {{ $labels.instance }} is full in {{ $value | humanizeDuration }}',
    description:
      'Then this edge refuses, and senders have to keep their data. Bring the brokers back, or give the spool more room.',
    panel: [BOARD, 'Time to full'],
  }),
  platform({
    name: 'SpoolRefusing',
    expression: 'max by (instance, signal) (edge_spool_refusing) == 1',
    holds: '1m',
    severity: 'page',
    summary: 'edge {{ $labels.instance }} refuses {{ $labels.signal }}: its disk takes nothing',
    description: 'Senders are told to come again and keep their data as long as they can.',
    panel: [BOARD, 'Requests that edges answered'],
  }),
];

const lost = (counter: string, what: string) => `label_replace(sum(${cases(counter)}) > 0, "what", "${what}", "", "")`;

/** Items that hubs have settled in half an hour: stored, or refused by the store, or left out by policy. */
const SETTLED: Recording = {
  record: 'hub:items_settled:increase30m',
  expression: `sum by (signal) (${[
    counted('hub_items_stored_total', '30m'),
    `label_replace(${counted('hub_items_rejected_total', '30m')}, "outcome", "rejected", "", "")`,
    `label_replace(${counted('hub_items_dropped_total', '30m')}, "outcome", "dropped", "", "")`,
  ].join(' or ')})`,
};

/** Items that brokers have acknowledged to edges in half an hour. */
const ACKED: Recording = {
  record: 'edge:items_acked:increase30m',
  expression: `sum by (signal) (${counted('edge_publisher_acked_items_total', '30m')})`,
};

/** An audit pushes its verdict once and ends; audits are a day apart, and a slow one takes two hours. */
const AUDITED = { seconds: 93600, window: '26h' };
const verdict = (finding: string) => `sum by (topic) (last_over_time(hub_audit_${finding}_records[${AUDITED.window}]))`;
const LAST_AUDIT = 'hub_audit_last_success_timestamp_seconds';

const TRUST: Alert[] = [
  platform({
    name: 'DataLost',
    expression: [
      lost('edge_filelog_lost_bytes_total', 'bytes of log files'),
      lost('edge_spool_dropped_items_total', 'items dropped by policy'),
      lost('edge_spool_corrupt_items_total', 'items on a damaged disk'),
      lost('hub_records_lost_total', 'records that retention took'),
    ].join(' or '),
    severity: 'page',
    summary: 'lost: {{ $value | printf "%.0f" }} {{ $labels.what }}',
    description: 'This is gone and is known to be gone. The runbook says how to find out what it was.',
    panel: [BOARD, 'Known lost'],
  }),
  platform({
    name: 'DeadLetters',
    expression: ['hub_dead_lettered_total', 'edge_publisher_dead_lettered_items_total']
      .map((counter) => `sum by (signal, reason) (${cases(counter)}) > 0`)
      .join(' or '),
    severity: 'ticket',
    summary: '{{ $labels.signal }}: records went to the dead letters ({{ $labels.reason }})',
    description: 'They are kept, with their reason and bytes, and are on no board until they are sent again.',
    panel: [BOARD, 'Dead letters'],
  }),
  platform({
    name: 'AuditResidual',
    expression: `${verdict('missing')} + ${verdict('doubled')} > 0`,
    holds: '10m',
    severity: 'page',
    summary: '{{ $labels.topic }}: {{ $value | printf "%.0f" }} committed records are missing or stored twice',
    description: 'A promise is broken, or somebody changed the table. `hub-consumer replay` stores what is missing.',
    panel: [BOARD, 'Audit residual'],
  }),
  platform({
    name: 'AuditStale',
    // Where hubs are younger than that, none is due.
    expression:
      `time() - max(last_over_time(${LAST_AUDIT}[3d])) > ${AUDITED.seconds}` +
      ` or ${AUDITED.seconds} * absent_over_time(${LAST_AUDIT}[3d]) and on () count(last_over_time(hub_assigned_partitions[1d] offset ${AUDITED.window}))`,
    severity: 'ticket',
    summary: 'no audit has come to its end for {{ $value | humanizeDuration }} or longer',
    description: 'Nobody knows whether what was committed is stored.',
    panel: [BOARD, 'Audit residual'],
  }),
  platform({
    name: 'CompletenessLow',
    // While nothing is acknowledged, what is extrapolated to the end of killed edges' series becomes the larger part of the window.
    expression:
      `${SETTLED.record} / (${ACKED.record} > 100) < 0.95 and on () max(hub_lag_seconds) < ${PIPELINE.lagSecondsRed}` +
      ' and sum by (signal) (increase(edge_publisher_acked_items_total[10m])) > 0',
    holds: '10m',
    severity: 'ticket',
    summary:
      'only {{ $value | humanizePercentage }} of the {{ $labels.signal }} that senders were told are safe have been stored, and nothing is behind',
    description: "By the programs' own counters. Run `hub-consumer audit`: it counts exactly.",
    panel: [BOARD, 'Stored ÷ acked'],
  }),
  platform({
    name: 'SinkFailing',
    // Retries may be five minutes apart when the store asks for it, and a few among many requests are no failing store.
    expression:
      'sum by (signal) (rate(hub_insert_retries_total[7m])) > 0.1 * sum by (signal) (rate(hub_insert_duration_seconds_count[7m]))',
    holds: '10m',
    severity: 'ticket',
    summary: 'the store of {{ $labels.signal }} refuses or does not answer',
    description: 'Hubs send the same again and pause; nothing is lost while topics keep it.',
    panel: [BOARD, 'Inserts that were tried again'],
  }),
  platform({
    name: 'NotReady',
    expression: 'min by (job, instance, condition) (ready_condition) == 0',
    holds: '5m',
    severity: 'ticket',
    summary: '{{ $labels.job }} {{ $labels.instance }} is not ready: {{ $labels.condition }}',
    description: 'Its /readyz says why, in words.',
    panel: [BOARD, 'Ready'],
  }),
  platform({
    name: 'DerivedSeriesStale',
    expression: UNPUSHED,
    holds: '5m',
    severity: 'ticket',
    summary: 'hub {{ $labels.instance }} does not get stored what it derives',
    description:
      'Alerts on the Menu API see nothing new of what it stores. Its increments wait and are not lost while it lives.',
    panel: [BOARD, 'Deriving'],
  }),
];

const SILENCE: Alert[] = [
  platform({
    name: 'HubsSilent',
    expression: silent('hub_lag_records'),
    holds: '3m',
    severity: 'page',
    summary: 'no hub says how far behind it is',
    description: 'No hub runs, or its metrics do not arrive. Every alert about lag is blind until then.',
    panel: [BOARD, 'Lag in records, by partition'],
  }),
  platform({
    name: 'EdgesSilent',
    expression: silent('edge_broker_up'),
    holds: '3m',
    severity: 'page',
    summary: 'no edge says how it is',
    description: 'No edge runs, or their metrics do not arrive. Every alert about edges is blind until then.',
    panel: [BOARD, 'Items a second, hop by hop'],
  }),
  platform({
    name: 'Watchdog',
    expression: 'vector(1)',
    severity: 'watchdog',
    summary: 'the way from rules to the pager works',
    description: 'It fires all the time. Whoever receives it has to page when it stops.',
    panel: ['platform-overview', 'Alerts'],
  }),
];

const ROOMS: Recording = {
  record: ROOM,
  expression: 'sum by (instance, signal) (edge_spool_quota_bytes) - sum by (instance, signal) (edge_spool_disk_bytes)',
};

export const PIPELINE_RULES: Group[] = [
  { name: 'pipeline-doubt', recordings: [DOUBTS], alerts: [] },
  { name: 'pipeline-lag', recordings: [], alerts: LAG },
  { name: 'pipeline-edges', recordings: [ROOMS], alerts: EDGES },
  { name: 'pipeline-trust', recordings: [SETTLED, ACKED], alerts: TRUST },
  { name: 'pipeline-silence', recordings: [], alerts: SILENCE },
];
