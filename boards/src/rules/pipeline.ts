/** What wakes somebody because of the pipeline itself. */
import { PIPELINE } from "../semantic/slo.ts";
import type { Alert, Group } from "./types.ts";

const BOARD = "pipeline-and-lag";
const PARTITION = "max by (topic, partition)";

/** Any growth of a counter, also of one whose first sample is not 0: a series of a reason begins with its first case. */
function grew(counter: string, by: string, window: string): string {
  const now = `sum by (${by}) (${counter})`;
  return `sum by (${by}) (increase(${counter}[${window}])) > 0 or (${now} > 0 unless sum by (${by}) (${counter} offset ${window}))`;
}

/** An alert of the platform's own team. */
const platform = (alert: Omit<Alert, "owner">): Alert => ({ ...alert, owner: "Platform" });

const LAG: Alert[] = [
  platform({
    name: "DataLate",
    expression: `max by (topic) (hub_lag_seconds) > ${PIPELINE.lagSecondsRed}`,
    holds: "5m",
    severity: "page",
    summary: "{{ $labels.topic }} is {{ $value | humanizeDuration }} behind",
    description: "The newest data is not on any board, and alerts made of it are late by as much.",
    panel: [BOARD, "Lag in seconds"],
  }),
  platform({
    name: "LagNotDraining",
    expression: `max by (topic) (hub_lag_records) > 1000 unless max by (topic) (hub_lag_drain_seconds) < ${PIPELINE.drainSecondsRed}`,
    holds: "10m",
    severity: "ticket",
    summary: "the lag of {{ $labels.topic }} does not end within half an hour at this rate",
    description: "More comes in than is stored, or nearly so. When retention catches up with the lag, unread records are deleted.",
    panel: [BOARD, "Time to drain"],
  }),
  platform({
    name: "PartitionStuck",
    expression: `${PARTITION} (hub_lag_stuck) == 1`,
    holds: "5m",
    severity: "page",
    summary: "partition {{ $labels.partition }} of {{ $labels.topic }} has lag and does not move",
    description: "Its hub waits for something: its sink, an operator's choice, or a read-back. The hub's /readyz says for what.",
    panel: [BOARD, "Partitions"],
  }),
  platform({
    name: "PartitionOrphaned",
    expression: `${PARTITION} (hub_lag_orphaned) == 1`,
    holds: "2m",
    severity: "page",
    summary: "no hub reads partition {{ $labels.partition }} of {{ $labels.topic }}",
    description: "Hubs of the group are missing, or cannot join it. Its lag grows until one does.",
    panel: [BOARD, "Partitions"],
  }),
  platform({
    name: "HeadRoomLow",
    expression:
      `${PARTITION} (hub_lag_head_room_records) / (${PARTITION} (hub_log_end_offset) - ${PARTITION} (hub_log_start_offset) > 0) < ${PIPELINE.headRoomShareRed}` +
      ` and ${PARTITION} (hub_lag_records) > 0`,
    holds: "5m",
    severity: "page",
    summary: "retention comes close to the position of partition {{ $labels.partition }} of {{ $labels.topic }}",
    description: "When it passes, records are deleted that nobody has read. Lengthen the topic's retention before anything else.",
    panel: [BOARD, "Head-room before retention"],
  }),
];

const EDGES: Alert[] = [
  platform({
    name: "BrokerUnreachable",
    expression: "max by (instance) (edge_broker_up) == 0",
    holds: "5m",
    severity: "ticket",
    summary: "edge {{ $labels.instance }} reaches no broker",
    description: "What it takes goes to its disk, and nothing is lost while there is room.",
    panel: [BOARD, "On edges' disks"],
  }),
  platform({
    name: "SpoolFullSoon",
    expression:
      "(sum by (instance, signal) (edge_spool_quota_bytes) - sum by (instance, signal) (edge_spool_disk_bytes)) / (sum by (instance, signal) (deriv(edge_spool_disk_bytes[10m])) > 0)" +
      ` < ${PIPELINE.spoolSecondsToFullRed}`,
    holds: "5m",
    severity: "page",
    summary: "the {{ $labels.signal }} spool of {{ $labels.instance }} is full in {{ $value | humanizeDuration }}",
    description: "Then this edge refuses, and senders have to keep their data. Bring the brokers back, or give the spool more room.",
    panel: [BOARD, "Time to full"],
  }),
  platform({
    name: "SpoolRefusing",
    expression: "max by (instance, signal) (edge_spool_refusing) == 1",
    holds: "1m",
    severity: "page",
    summary: "edge {{ $labels.instance }} refuses {{ $labels.signal }}: its disk takes nothing",
    description: "Senders are told to come again and keep their data as long as they can.",
    panel: [BOARD, "Requests that edges answered"],
  }),
];

const TRUST: Alert[] = [
  platform({
    name: "DataLost",
    expression: [
      'label_replace(sum(increase(edge_filelog_lost_bytes_total[15m])) > 0, "what", "bytes of log files", "", "")',
      'label_replace(sum(increase(edge_spool_dropped_items_total[15m])) > 0, "what", "items dropped by policy", "", "")',
      'label_replace(sum(increase(edge_spool_corrupt_items_total[15m])) > 0, "what", "items on a damaged disk", "", "")',
      `label_replace(${grew("hub_records_lost_total", "topic", "15m")}, "what", "records that retention took", "", "")`,
    ].join(" or "),
    severity: "page",
    summary: "lost: {{ $value | printf \"%.0f\" }} {{ $labels.what }}",
    description: "This is gone and is known to be gone. The runbook says how to find out what it was.",
    panel: [BOARD, "Known lost"],
  }),
  platform({
    name: "DeadLetters",
    expression: grew("hub_dead_lettered_total", "signal, reason", "15m"),
    severity: "ticket",
    summary: "{{ $labels.signal }}: records went to the dead letters ({{ $labels.reason }})",
    description: "They are kept, with their reason and bytes, and are on no board until they are sent again.",
    panel: [BOARD, "Dead letters"],
  }),
  platform({
    name: "AuditResidual",
    expression: "sum by (topic) (last_over_time(hub_audit_missing_records[26h])) + sum by (topic) (last_over_time(hub_audit_doubled_records[26h])) > 0",
    holds: "10m",
    severity: "page",
    summary: "{{ $labels.topic }}: {{ $value | printf \"%.0f\" }} committed records are missing or stored twice",
    description: "A promise is broken, or somebody changed the table. `hub-consumer replay` stores what is missing.",
    panel: [BOARD, "Audit residual"],
  }),
  platform({
    name: "AuditStale",
    expression: "time() - max(last_over_time(hub_audit_last_success_timestamp_seconds[3d])) > 93600",
    severity: "ticket",
    summary: "the last audit ended {{ $value | humanizeDuration }} ago",
    description: "Nobody knows whether what was committed is stored.",
    panel: [BOARD, "Audit residual"],
  }),
  platform({
    name: "CompletenessLow",
    expression:
      "sum(increase(hub_items_stored_total[30m])) / (sum(increase(edge_publisher_acked_items_total[30m])) > 100) < 0.95 and max(hub_lag_seconds) < " +
      PIPELINE.lagSecondsRed,
    holds: "10m",
    severity: "ticket",
    summary: "only {{ $value | humanizePercentage }} of what senders were told is safe has been stored, and nothing is behind",
    description: "By the programs' own counters. Run `hub-consumer audit`: it counts exactly.",
    panel: [BOARD, "Stored ÷ acked"],
  }),
  platform({
    name: "SinkFailing",
    expression: "sum by (signal) (rate(hub_insert_retries_total[5m])) > 0",
    holds: "10m",
    severity: "ticket",
    summary: "the store of {{ $labels.signal }} refuses or does not answer",
    description: "Hubs send the same again and pause; nothing is lost while topics keep it.",
    panel: [BOARD, "Inserts that were tried again"],
  }),
  platform({
    name: "NotReady",
    expression: "min by (job, instance, condition) (ready_condition) == 0",
    holds: "5m",
    severity: "ticket",
    summary: "{{ $labels.job }} {{ $labels.instance }} is not ready: {{ $labels.condition }}",
    description: "Its /readyz says why, in words.",
    panel: [BOARD, "Ready"],
  }),
  platform({
    name: "DerivedSeriesStale",
    expression: "time() - max by (instance) (hub_derive_last_push_timestamp_seconds > 0) > 120",
    holds: "5m",
    severity: "ticket",
    summary: "hub {{ $labels.instance }} has not pushed what it derives for {{ $value | humanizeDuration }}",
    description: "Alerts on the Menu API see nothing new of what it stores. Its increments wait and are not lost while it lives.",
    panel: [BOARD, "Deriving"],
  }),
];

const SILENCE: Alert[] = [
  platform({
    name: "HubsSilent",
    expression: "absent(hub_lag_records)",
    holds: "5m",
    severity: "page",
    summary: "no hub says how far behind it is",
    description: "No hub runs, or its metrics do not arrive. Every alert about lag is blind until then.",
    panel: [BOARD, "Lag in records, by partition"],
  }),
  platform({
    name: "EdgesSilent",
    expression: "absent(edge_broker_up)",
    holds: "5m",
    severity: "page",
    summary: "no edge says how it is",
    description: "No edge runs, or their metrics do not arrive. Every alert about edges is blind until then.",
    panel: [BOARD, "Items a second, hop by hop"],
  }),
  platform({
    name: "Watchdog",
    expression: "vector(1)",
    severity: "watchdog",
    summary: "the way from rules to the pager works",
    description: "It fires all the time. Whoever receives it has to page when it stops.",
    panel: ["platform-overview", "Alerts"],
  }),
];

export const PIPELINE_RULES: Group[] = [
  { name: "pipeline-lag", recordings: [], alerts: LAG },
  { name: "pipeline-edges", recordings: [], alerts: EDGES },
  { name: "pipeline-trust", recordings: [], alerts: TRUST },
  { name: "pipeline-silence", recordings: [], alerts: SILENCE },
];
