/** Hubs are behind. */
import { be, end, grow, miss, type Plan } from './plan.ts';
import { ONSET, after, late, menuStands, stands, still } from './trouble.ts';
import type { Scene } from './types.ts';
import { edges, hub, hubs, menu } from './world.ts';

const BACK = after('1h');

/** A condition that does not hold from the onset on. */
const lacking = (until?: string): Plan =>
  until === undefined ? [be(1, ONSET), be(0)] : [be(1, ONSET), be(0, until), be(1)];

/** Requests to a store that is away, which become rare. */
const attempts: Plan = [grow(1, ONSET), grow(0.1, BACK), grow(1)];
const retries: Plan = [miss(ONSET), grow(0.1, BACK), grow(0)];

const STORES: Scene[] = [
  {
    name: 'ClickHouse is away for an hour',
    description: 'Logs and spans wait in their topics, metrics pass. The backlog is stored within a minute.',
    length: '2h10m',
    interval: '1m',
    series: [
      ...edges(),
      ...hubs({
        told: (signal) => (signal === 'metrics' ? {} : stands(BACK)),
        stored: { logs: late(10, BACK), traces: late(10, BACK) },
        attempts: { logs: attempts, traces: attempts },
        retries: { logs: retries, traces: retries },
        ready: { clickhouse_logs: lacking(BACK), clickhouse_traces: lacking(BACK) },
      }),
      ...menuStands(BACK),
    ],
    moments: [
      { at: after('5m'), firing: {}, pending: { DataLate: 2, NotReady: 4, PartitionStuck: 4, SinkFailing: 2 } },
      { at: after('7m'), firing: { DataLate: 2, NotReady: 4, PartitionStuck: 4 } },
      { at: after('13m'), firing: { DataLate: 2, NotReady: 4, PartitionStuck: 4 } },
      { at: after('17m'), firing: { DataLate: 2, NotReady: 4, PartitionStuck: 4, SinkFailing: 2 } },
      { at: after('26m'), firing: { DataLate: 2, NotReady: 4, PartitionStuck: 4, SinkFailing: 2 } },
      { at: after('28m'), firing: { DataLate: 2, NotReady: 4, PartitionStuck: 4, SinkFailing: 2, LagNotDraining: 2 } },
      { at: after('1h'), firing: { DataLate: 2, NotReady: 4, PartitionStuck: 4, SinkFailing: 2, LagNotDraining: 2 } },
      { at: after('1h2m'), firing: { SinkFailing: 2 } },
      { at: after('1h10m'), firing: {}, pending: {} },
    ],
    says: [
      ...['otlp_logs', 'otlp_spans'].map((topic) => ({
        at: after('10m'),
        alert: 'DataLate',
        labels: { topic, severity: 'page', owner: 'Platform' },
        summary: `${topic} is 10m 0s behind`,
      })),
      ...['logs', 'traces'].map((signal) => ({
        at: after('1h'),
        alert: 'SinkFailing',
        labels: { signal, severity: 'ticket', owner: 'Platform' },
        summary: `the store of ${signal} refuses or does not answer`,
      })),
    ],
  },
  {
    name: 'a store hiccups',
    description: 'Every six minutes two requests of some hundreds are sent again.',
    length: '1h30m',
    interval: '1m',
    series: [
      ...edges(),
      ...hubs({
        retries: {
          logs: [
            miss('10m'),
            ...[10, 16, 22, 28, 34, 40, 46, 52].map((minute, index) => be(2 * (index + 1), `${minute + 6}m`)),
            be(16),
          ],
        },
      }),
      ...menu(),
    ],
    moments: [
      { at: '30m', firing: {}, pending: {} },
      { at: '1h30m', firing: {}, pending: {} },
    ],
  },
];

const PARTITIONS: Scene[] = [
  {
    name: 'one partition is stuck',
    description: 'The other partition of the topic has no lag and goes on.',
    length: '1h30m',
    interval: '1m',
    series: [
      ...edges(),
      ...hubs({ told: (signal, partition) => (signal === 'logs' && partition === 0 ? stands() : {}) }),
      ...menu({ lists: [grow(5, ONSET), grow(2.5)], items: [grow(8, ONSET), grow(4)] }),
    ],
    moments: [
      { at: after('5m'), firing: {}, pending: { DataLate: 1, PartitionStuck: 1 } },
      { at: after('7m'), firing: { DataLate: 1, PartitionStuck: 1 } },
      { at: after('26m'), firing: { DataLate: 1, PartitionStuck: 1 } },
      { at: after('28m'), firing: { DataLate: 1, PartitionStuck: 1, LagNotDraining: 1 } },
      { at: '1h30m', firing: { DataLate: 1, PartitionStuck: 1, LagNotDraining: 1 } },
    ],
    says: [
      {
        at: after('10m'),
        alert: 'PartitionStuck',
        labels: { topic: 'otlp_logs', partition: '0', severity: 'page', owner: 'Platform' },
        summary: 'partition 0 of otlp_logs has lag and does not move',
      },
      {
        at: after('30m'),
        alert: 'LagNotDraining',
        labels: { topic: 'otlp_logs', severity: 'ticket', owner: 'Platform' },
        summary: 'the lag of otlp_logs does not end within half an hour at this rate',
      },
    ],
  },
  {
    name: 'nobody has a partition',
    description: 'A third partition of the logs loses its hub, and both others tell of it.',
    length: '1h30m',
    interval: '1m',
    series: [
      ...edges(),
      ...[0, 1].flatMap((number) =>
        hub({
          instance: `hub-${number}`,
          partitions: [number, 2],
          told: (signal, partition) =>
            signal === 'logs' && partition === 2
              ? { ...stands(), stuck: [be(0)], orphaned: [be(0, ONSET), be(1)] }
              : {},
        }),
      ),
      ...menu(),
    ],
    moments: [
      { at: after('2m'), firing: {}, pending: { DataLate: 1, PartitionOrphaned: 1 } },
      { at: after('4m'), firing: { PartitionOrphaned: 1 } },
      { at: after('7m'), firing: { DataLate: 1, PartitionOrphaned: 1 } },
      { at: after('28m'), firing: { DataLate: 1, PartitionOrphaned: 1, LagNotDraining: 1 } },
    ],
    says: [
      {
        at: after('5m'),
        alert: 'PartitionOrphaned',
        labels: { topic: 'otlp_logs', partition: '2', severity: 'page', owner: 'Platform' },
        summary: 'no hub reads partition 2 of otlp_logs',
      },
    ],
  },
];

const RETENTION: Scene[] = [
  {
    name: 'head-room runs out',
    description: 'The group works its lag off, and more slowly than retention deletes.',
    length: '1h40m',
    interval: '1m',
    series: [
      ...edges(),
      ...hubs({
        told: (signal, partition) =>
          signal === 'logs' && partition === 0
            ? {
                records: [be(1, ONSET), grow(1000)],
                seconds: [be(0.5, ONSET), grow(1)],
                drain: [be(0, ONSET), be(1500)],
                headRoom: [be(3_000_000, ONSET), grow(-1000)],
                end: [be(4_000_000)],
                start: [be(1_000_000)],
              }
            : {},
      }),
      ...menu(),
    ],
    moments: [
      { at: after('5m'), firing: {} },
      { at: after('7m'), firing: { DataLate: 1 } },
      // 750,000 of three million records are left after 37 min 30 s.
      { at: after('42m'), firing: { DataLate: 1 } },
      { at: after('44m'), firing: { DataLate: 1, HeadRoomLow: 1 } },
      { at: '1h40m', firing: { DataLate: 1, HeadRoomLow: 1 } },
    ],
    says: [
      {
        at: '1h40m',
        alert: 'HeadRoomLow',
        labels: { topic: 'otlp_logs', partition: '0', severity: 'page', owner: 'Platform' },
        summary: 'retention comes close to the position of partition 0 of otlp_logs',
      },
    ],
  },
  {
    name: 'a young log is far behind',
    description: 'It still begins at 0: retention is far away, though most of the log is not read.',
    length: '1h20m',
    interval: '1m',
    series: [
      ...edges(),
      ...hubs({
        told: (signal, partition) =>
          signal === 'logs' && partition === 0
            ? {
                records: [be(1, ONSET), grow(10)],
                seconds: [be(0.5, ONSET), grow(1)],
                drain: [be(0, ONSET), be(900)],
                headRoom: [be(100)],
                start: [be(0)],
                end: [be(100, ONSET), grow(10)],
              }
            : {},
      }),
      ...menu(),
    ],
    moments: [
      { at: after('7m'), firing: { DataLate: 1 } },
      { at: '1h20m', firing: { DataLate: 1 }, pending: {} },
    ],
  },
  {
    name: 'retention has passed a group',
    description:
      'The hub waits for a decision and cannot know how old the lag is. After an hour it is told to go on with what is left.',
    length: '2h',
    interval: '1m',
    series: [
      ...edges({ acked: { logs: still(10, BACK) } }),
      ...hub({
        instance: 'hub-0',
        partitions: [0],
        told: (signal) =>
          signal === 'logs'
            ? {
                records: [be(1, ONSET), be(2_900_000, BACK), be(1)],
                seconds: [be(0.5, ONSET), end(BACK), be(0.5)],
                drain: [be(0, ONSET), end(BACK), be(0)],
                headRoom: [be(3_000_000, ONSET), be(0, BACK), be(3_000_000)],
                stuck: [be(0, ONSET), be(1, BACK), be(0)],
              }
            : {},
        ready: { kafka_logs: lacking(BACK) },
        lostRecords: [miss(BACK), be(7000)],
        stored: { logs: still(10, BACK) },
      }),
      ...hub({ instance: 'hub-1', partitions: [1] }),
      ...menu(),
    ],
    moments: [
      { at: after('5m'), firing: {}, pending: { HeadRoomLow: 1, LagNotDraining: 1, NotReady: 1, PartitionStuck: 1 } },
      { at: after('7m'), firing: { HeadRoomLow: 1, NotReady: 1, PartitionStuck: 1 } },
      { at: after('12m'), firing: { HeadRoomLow: 1, NotReady: 1, PartitionStuck: 1, LagNotDraining: 1 } },
      { at: after('1h'), firing: { HeadRoomLow: 1, NotReady: 1, PartitionStuck: 1, LagNotDraining: 1 } },
      { at: after('1h1m'), firing: { DataLost: 1 } },
      { at: after('1h15m'), firing: { DataLost: 1 } },
      { at: after('1h17m'), firing: {}, pending: {} },
    ],
    says: [
      {
        at: after('1h5m'),
        alert: 'DataLost',
        labels: { what: 'records that retention took', severity: 'page', owner: 'Platform' },
        summary: 'lost: 7000 records that retention took',
      },
    ],
  },
];

export const LAG_SCENES: Scene[] = [...STORES, ...PARTITIONS, ...RETENTION];
