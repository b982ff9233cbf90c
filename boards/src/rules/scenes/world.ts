/** The series of a healthy line of two edges and two hubs, each of which a scene may change. */
import { be, clock, during, end, grow, miss, scaled, seconds, type Life, type Plan } from './plan.ts';
import type { Series } from './types.ts';

export const TOPICS = { logs: 'otlp_logs', traces: 'otlp_spans', metrics: 'otlp_metrics' } as const;
export type Signal = keyof typeof TOPICS;
const SIGNALS = Object.keys(TOPICS) as Signal[];

/** Items a second that each of two hubs stores, and that brokers acknowledge to each of two edges. */
const ITEMS = 10;

/** Growth of what the hubs derive, over all hubs; a plan that is left out has no series. */
export interface MenuPlans {
  lists: Plan;
  failedLists?: Plan;
  items: Plan;
  unknownItems?: Plan;
  /** Good lists within the objective; all of them when left out. */
  fastLists?: Plan;
  /** The same of good items. */
  fastItems?: Plan;
  starts?: Plan;
  lines: Plan;
  unreadableLines?: Plan;
}

const TRAFFIC: MenuPlans = {
  lists: [grow(5)],
  items: [grow(8)],
  unknownItems: [grow(0.1)],
  lines: [grow(14)],
};

/** Whoever derives a part of the series. */
export interface Deriver extends Life {
  instance: string;
  share: number;
}

export const TWO_HUBS: Deriver[] = [
  { instance: 'hub-0', share: 0.5 },
  { instance: 'hub-1', share: 0.5 },
];

/** What hubs derive of the Menu API's log. */
export function menu(changes: Partial<MenuPlans> = {}, derivers = TWO_HUBS, service = 'menu-api'): Series[] {
  const plans = { ...TRAFFIC, ...changes };
  return derivers.flatMap((deriver) => {
    const series = (name: string, labels: Record<string, string>, plan: Plan | undefined): Series[] =>
      plan === undefined
        ? []
        : [
            {
              name,
              labels: { job: 'hub-consumer', instance: deriver.instance, service, ...labels },
              plan: during(deriver, scaled(plan, deriver.share)),
            },
          ];
    const requests = (route: string, status: string, plan: Plan | undefined) =>
      series('menu_requests_total', { route, status_class: `${status[0]}xx`, status }, plan);
    const durations = (route: string, statusClass: string, fast: Plan | undefined, all: Plan | undefined) => [
      ...series('menu_request_duration_seconds_bucket', { route, status_class: statusClass, le: '0.1' }, fast),
      ...series('menu_request_duration_seconds_bucket', { route, status_class: statusClass, le: '0.25' }, all),
      ...series('menu_request_duration_seconds_count', { route, status_class: statusClass }, all),
    ];
    const [list, item] = ['/api/menu', '/api/menu/{id}'];
    return [
      ...requests(list, '200', plans.lists),
      ...requests(list, '500', plans.failedLists),
      ...requests(item, '200', plans.items),
      ...requests(item, '404', plans.unknownItems),
      ...requests('/health', '200', [grow(0.2)]),
      ...durations(list, '2xx', plans.fastLists ?? plans.lists, plans.lists),
      ...durations(list, '5xx', plans.failedLists, plans.failedLists),
      ...durations(item, '2xx', plans.fastItems ?? plans.items, plans.items),
      ...series('menu_service_starts_total', {}, plans.starts),
      ...series('menu_log_lines_total', { parsed: 'true' }, plans.lines),
      ...series('menu_log_lines_total', { parsed: 'false' }, plans.unreadableLines),
    ];
  });
}

/** What a hub tells of one partition. */
export interface PartitionPlans {
  records: Plan;
  seconds: Plan;
  drain: Plan;
  headRoom: Plan;
  start: Plan;
  end: Plan;
  stuck: Plan;
  orphaned: Plan;
}

/** A log of three million records, of which retention takes as many as come. */
const FOLLOWED: PartitionPlans = {
  records: [be(1)],
  seconds: [be(0.5)],
  drain: [be(0)],
  headRoom: [be(3_000_000)],
  start: [be(1_000_000, '0s'), grow(1)],
  end: [be(4_000_000, '0s'), grow(1)],
  stuck: [be(0)],
  orphaned: [be(0)],
};

const GAUGES: Record<keyof PartitionPlans, string> = {
  records: 'hub_lag_records',
  seconds: 'hub_lag_seconds',
  drain: 'hub_lag_drain_seconds',
  headRoom: 'hub_lag_head_room_records',
  start: 'hub_log_start_offset',
  end: 'hub_log_end_offset',
  stuck: 'hub_lag_stuck',
  orphaned: 'hub_lag_orphaned',
};

/** One hub, with what differs from a healthy one. */
export interface Hub extends Life {
  instance: string;
  /** Partitions of each topic that it tells of. */
  partitions: number[];
  /** What it tells of a partition that is not healthy. */
  told?: (signal: Signal, partition: number) => Partial<PartitionPlans>;
  stored?: Partial<Record<Signal, Plan>>;
  /** Items that the store has refused for good. */
  rejected?: Plan;
  dropped?: Plan;
  /** Requests to the store, those that fail among them. */
  attempts?: Partial<Record<Signal, Plan>>;
  retries?: Partial<Record<Signal, Plan>>;
  /** Readiness, by condition. */
  ready?: Record<string, Plan>;
  cannotPush?: Plan;
  lastPush?: Plan;
  deadLetters?: { signal: Signal; reason: string; plan: Plan }[];
  lostRecords?: Plan;
}

const CONDITIONS = [
  'kafka_logs',
  'kafka_traces',
  'kafka_metrics',
  'clickhouse_logs',
  'clickhouse_traces',
  'mimir',
  'derive',
];

/** What a hub tells of itself. */
export function hub(changes: Partial<Hub> = {}): Series[] {
  const it: Hub = { instance: 'hub-0', partitions: [0, 1], ...changes };
  const rate = ITEMS * it.partitions.length;
  const series = (name: string, labels: Record<string, string>, plan: Plan | undefined): Series[] =>
    plan === undefined
      ? []
      : [{ name, labels: { job: 'hub-consumer', instance: `${it.instance}:9465`, ...labels }, plan: during(it, plan) }];
  const partition = (signal: Signal, number: number) => {
    const plans = { ...FOLLOWED, ...it.told?.(signal, number) };
    const labels = { topic: TOPICS[signal], partition: String(number) };
    return (Object.keys(GAUGES) as (keyof PartitionPlans)[]).flatMap((gauge) =>
      series(GAUGES[gauge], labels, plans[gauge]),
    );
  };
  return [
    ...SIGNALS.flatMap((signal) => [
      ...it.partitions.flatMap((number) => partition(signal, number)),
      ...series('hub_assigned_partitions', { signal }, [be(it.partitions.length)]),
      ...series('hub_items_stored_total', { signal }, it.stored?.[signal] ?? [grow(rate)]),
      ...series('hub_insert_duration_seconds_count', { signal }, it.attempts?.[signal] ?? [grow(1)]),
      ...series('hub_insert_retries_total', { signal, reason: 'unreachable' }, it.retries?.[signal]),
    ]),
    ...series('hub_items_rejected_total', { signal: 'metrics', reason: 'too_old' }, it.rejected),
    ...series('hub_items_dropped_total', { signal: 'metrics', reason: 'too_old' }, it.dropped),
    ...(it.deadLetters ?? []).flatMap(({ signal, reason, plan }) =>
      series('hub_dead_lettered_total', { signal, reason }, plan),
    ),
    ...series('hub_records_lost_total', { topic: TOPICS.logs, partition: '0' }, it.lostRecords),
    ...['process', ...CONDITIONS].flatMap((condition) => [
      ...series('ready_condition', { condition }, it.ready?.[condition] ?? [be(1)]),
      ...series('degraded_condition', { condition }, condition === 'derive' ? (it.cannotPush ?? [be(0)]) : [be(0)]),
    ]),
    ...series('hub_derive_last_push_timestamp_seconds', {}, it.lastPush ?? sinceEpoch(it)),
  ];
}

/** A clock. The scene begins at the epoch. */
function sinceEpoch({ from }: Life): Plan {
  const first = from === undefined ? 0 : seconds(from) + 10;
  return [be(first, clock(first)), grow(1)];
}

/** The two hubs of a healthy line. */
export const hubs = (changes: Partial<Hub> = {}): Series[] => [
  ...hub({ instance: 'hub-0', partitions: [0], ...changes }),
  ...hub({ instance: 'hub-1', partitions: [1], ...changes }),
];

/** One edge, with what differs from a healthy one. */
export interface Edge extends Life {
  instance: string;
  brokerUp?: Plan;
  acked?: Partial<Record<Signal, Plan>>;
  /** Bytes that the spool of each signal may have, and has. */
  quota?: Plan;
  disk?: Plan;
  refusing?: Plan;
  ready?: Plan;
  lostBytes?: Plan;
  dropped?: Plan;
  corrupt?: Plan;
  deadLetters?: Plan;
}

/** A megabyte that the spool's reserve takes. */
export const RESERVE = 1_048_576;

/** What an edge tells of itself. */
export function edge(changes: Partial<Edge> = {}): Series[] {
  const it: Edge = { instance: 'edge-0', ...changes };
  const series = (name: string, labels: Record<string, string>, plan: Plan | undefined): Series[] =>
    plan === undefined
      ? []
      : [
          {
            name,
            labels: { job: 'edge-forwarder', instance: `${it.instance}:9464`, ...labels },
            plan: during(it, plan),
          },
        ];
  return [
    ...series('edge_broker_up', {}, it.brokerUp ?? [be(1)]),
    ...SIGNALS.flatMap((signal) => [
      ...series('edge_publisher_acked_items_total', { signal }, it.acked?.[signal] ?? [grow(ITEMS)]),
      ...series('edge_spool_quota_bytes', { signal }, it.quota ?? [be(3_000_000_000)]),
      ...series('edge_spool_disk_bytes', { signal }, it.disk ?? [be(RESERVE)]),
      ...series('edge_spool_refusing', { signal }, it.refusing ?? [be(0)]),
      ...series('edge_spool_dropped_items_total', { signal, reason: 'full' }, it.dropped ?? [be(0)]),
      ...series('edge_spool_corrupt_items_total', { signal, reason: 'corrupt' }, it.corrupt ?? [be(0)]),
    ]),
    ...series('edge_filelog_lost_bytes_total', {}, it.lostBytes ?? [be(0)]),
    ...series('edge_publisher_dead_lettered_items_total', { signal: 'logs', reason: 'too_large' }, it.deadLetters),
    ...['process', 'publisher', 'filelog'].flatMap((condition) => [
      ...series('ready_condition', { condition }, (condition === 'publisher' ? it.ready : undefined) ?? [be(1)]),
      ...series('degraded_condition', { condition }, [be(0)]),
    ]),
  ];
}

/** The two edges of a healthy line. */
export const edges = (changes: Partial<Edge> = {}): Series[] => [
  ...edge({ instance: 'edge-0', ...changes }),
  ...edge({ instance: 'edge-1', ...changes }),
];

/** What audits have pushed: each verdict once, after which the audit ends. The labels of all of them are the same. */
export function verdicts(...audits: { at: string; missing?: number; doubled?: number }[]): Series[] {
  const labels = { job: 'hub-consumer', instance: 'audit' };
  const pushed = (value: (audit: { at: string; missing?: number; doubled?: number }) => number): Plan => [
    ...audits.flatMap((audit) => [
      miss(clock(seconds(audit.at) - 1)),
      be(value(audit), audit.at),
      end(clock(seconds(audit.at) + 60)),
    ]),
    miss(),
  ];
  return [
    {
      name: 'hub_audit_missing_records',
      labels: { ...labels, topic: TOPICS.logs },
      plan: pushed(({ missing }) => missing ?? 0),
    },
    {
      name: 'hub_audit_doubled_records',
      labels: { ...labels, topic: TOPICS.logs },
      plan: pushed(({ doubled }) => doubled ?? 0),
    },
    { name: 'hub_audit_missing_records', labels: { ...labels, topic: TOPICS.traces }, plan: pushed(() => 0) },
    { name: 'hub_audit_doubled_records', labels: { ...labels, topic: TOPICS.traces }, plan: pushed(() => 0) },
    { name: 'hub_audit_last_success_timestamp_seconds', labels, plan: pushed(({ at }) => seconds(at)) },
  ];
}

/** Edges and hubs that work. */
export const line = (): Series[] => [...edges(), ...hubs()];

/** So little of it that hours are quickly played. */
export function presence(): Series[] {
  const names = ['hub_assigned_partitions', 'hub_lag_records', 'edge_broker_up'];
  return line().filter(({ name, labels }) => names.includes(name) && (labels['topic'] ?? TOPICS.logs) === TOPICS.logs);
}
