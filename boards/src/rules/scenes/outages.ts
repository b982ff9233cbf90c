/** The line is cut between its parts, or a part of it is gone. */
import { be, grow, type Plan } from './plan.ts';
import { ONSET, after, everySignal, idleHubs, late, menuStands, still } from './trouble.ts';
import type { Scene } from './types.ts';
import { RESERVE, TWO_HUBS, edge, edges, hubs, menu } from './world.ts';

/** Bytes a second that an edge spools of each signal while it reaches no broker. */
const SPOOLED = 277_000;

const SILENCE: Scene[] = [
  {
    name: 'no hub lives',
    description: 'All hubs are killed at once. What they have pushed stands for five minutes, as if they lived.',
    length: '30m',
    interval: '10s',
    series: [
      ...edges(),
      ...hubs({ until: '15m', killed: true }),
      ...menu(
        {},
        TWO_HUBS.map((deriver) => ({ ...deriver, until: '15m', killed: true })),
      ),
    ],
    moments: [
      { at: '16m50s', firing: {} },
      { at: '19m50s', firing: {} },
      { at: '20m10s', firing: { HubsSilent: 1 } },
      { at: '30m', firing: { HubsSilent: 1 } },
    ],
    says: [
      {
        at: '30m',
        alert: 'HubsSilent',
        labels: { severity: 'page', owner: 'Platform' },
        summary: 'no hub says how far behind it is',
      },
    ],
    everyMinute: [
      { at: '19m', firing: {} },
      { at: '21m', firing: { HubsSilent: 1 } },
    ],
  },
  {
    name: 'no edge lives',
    description: 'All edges are killed at once, so that no line comes. The service and the hubs are well.',
    length: '1h30m',
    interval: '1m',
    series: [...edges({ until: ONSET, killed: true }), ...idleHubs(), ...menuStands()],
    moments: [
      { at: after('4m'), firing: {}, pending: { EdgesSilent: 1 } },
      { at: after('6m'), firing: { EdgesSilent: 1 } },
      { at: '1h30m', firing: { EdgesSilent: 1 } },
    ],
    says: [
      {
        at: '1h',
        alert: 'EdgesSilent',
        labels: { severity: 'page', owner: 'Platform' },
        summary: 'no edge says how it is',
      },
    ],
  },
];

const BACK = after('1h40m');

const BROKERS: Scene[] = [
  {
    name: 'edges reach no broker, with room for three hours',
    description:
      'They write to their disks. When the room is short of two hours somebody is woken; the brokers are back before it is full.',
    length: '3h10m',
    interval: '1m',
    series: [
      ...edges({
        brokerUp: [be(1, ONSET), be(0, BACK), be(1)],
        acked: everySignal(late(10, BACK)),
        disk: [be(RESERVE, ONSET), grow(SPOOLED, BACK), be(RESERVE)],
      }),
      ...hubs({ stored: everySignal(late(10, BACK)) }),
      ...menuStands(BACK),
    ],
    moments: [
      { at: after('5m'), firing: {}, pending: { BrokerUnreachable: 2 } },
      { at: after('7m'), firing: { BrokerUnreachable: 2 } },
      { at: after('1h4m'), firing: { BrokerUnreachable: 2 } },
      { at: after('1h8m'), firing: { BrokerUnreachable: 2, SpoolFullSoon: 6 } },
      { at: after('1h40m'), firing: { BrokerUnreachable: 2, SpoolFullSoon: 6 } },
      { at: after('1h42m'), firing: {}, pending: {} },
      { at: '3h10m', firing: {}, pending: {} },
    ],
  },
  {
    name: 'the only edge reaches no broker, with room for one hour',
    description: 'Its spools fill up at the same pace, and when they are full it refuses.',
    length: '2h',
    interval: '1m',
    series: [
      ...edge({
        brokerUp: [be(1, ONSET), be(0)],
        acked: everySignal(still(10)),
        quota: [be(1_000_000_000)],
        disk: [be(RESERVE, ONSET), grow(SPOOLED, after('1h')), be(1_000_000_000)],
        refusing: [be(0, after('1h')), be(1)],
        ready: [be(1, after('1h')), be(0)],
      }),
      ...idleHubs(),
      ...menuStands(),
    ],
    moments: [
      { at: after('7m'), firing: { BrokerUnreachable: 1 } },
      { at: after('9m'), firing: { BrokerUnreachable: 1 } },
      { at: after('13m'), firing: { BrokerUnreachable: 1, SpoolFullSoon: 3 } },
      { at: after('1h1m'), firing: { BrokerUnreachable: 1, SpoolFullSoon: 3 } },
      { at: after('1h3m'), firing: { BrokerUnreachable: 1, SpoolFullSoon: 3, SpoolRefusing: 3 } },
      { at: after('1h7m'), firing: { BrokerUnreachable: 1, SpoolFullSoon: 3, SpoolRefusing: 3, NotReady: 1 } },
      { at: '2h', firing: { BrokerUnreachable: 1, SpoolRefusing: 3, NotReady: 1 } },
    ],
    says: [
      {
        at: after('1h7m'),
        alert: 'BrokerUnreachable',
        labels: { instance: 'edge-0:9464', severity: 'ticket', owner: 'Platform' },
        summary: 'edge edge-0:9464 reaches no broker',
      },
      ...['logs', 'traces', 'metrics'].flatMap((signal) => [
        {
          at: after('30m'),
          alert: 'SpoolFullSoon',
          labels: { instance: 'edge-0:9464', signal, severity: 'page', owner: 'Platform' },
          summary: `the ${signal} spool of edge-0:9464 is full in 30m 6s`,
        },
        {
          at: after('1h7m'),
          alert: 'SpoolRefusing',
          labels: { instance: 'edge-0:9464', signal, severity: 'page', owner: 'Platform' },
          summary: `edge edge-0:9464 refuses ${signal}: its disk takes nothing`,
        },
      ]),
      {
        at: after('1h7m'),
        alert: 'NotReady',
        labels: {
          job: 'edge-forwarder',
          instance: 'edge-0:9464',
          condition: 'publisher',
          severity: 'ticket',
          owner: 'Platform',
        },
        summary: 'edge-forwarder edge-0:9464 is not ready: publisher',
      },
    ],
  },
  {
    name: 'three spools share what is left',
    description:
      'Each alone could take it for two hours and a half; together they are full in fifty minutes, which their shrinking quotas show.',
    length: '1h20m',
    interval: '1m',
    series: [
      ...edge({
        brokerUp: [be(1, ONSET), be(0)],
        acked: everySignal(still(10)),
        quota: [be(2_500_000_000, ONSET), grow(-2 * SPOOLED)],
        disk: [be(RESERVE, ONSET), grow(SPOOLED)],
      }),
      ...idleHubs(),
      ...menuStands(),
    ],
    moments: [
      { at: after('7m'), firing: { BrokerUnreachable: 1 } },
      { at: after('12m'), firing: { BrokerUnreachable: 1, SpoolFullSoon: 3 } },
    ],
  },
  {
    name: 'a broker outage of twenty seconds',
    description: 'As in the demo: what went to the disk is sent within the next ten seconds.',
    length: '20m',
    interval: '10s',
    series: [
      ...edges({
        brokerUp: [be(1, '10m'), be(0, '10m20s'), be(1)],
        quota: [be(500_000_000)],
        disk: [be(RESERVE, '10m'), grow(SPOOLED, '10m20s'), be(RESERVE)],
      }),
      ...hubs(),
      ...menu(),
    ],
    moments: [
      { at: '10m20s', firing: {}, pending: { BrokerUnreachable: 2 } },
      { at: '11m', firing: {}, pending: {} },
      { at: '20m', firing: {}, pending: {} },
    ],
    everyMinute: [{ at: '20m', firing: {}, pending: {} }],
  },
  {
    name: 'brokers answer nobody',
    description: 'Neither edges nor hubs reach them. Nothing new is in the topics, so nothing is behind.',
    length: '1h30m',
    interval: '1m',
    series: [
      ...edges({
        brokerUp: [be(1, ONSET), be(0)],
        acked: everySignal(still(10)),
        quota: [be(20_000_000_000)],
        disk: [be(RESERVE, ONSET), grow(SPOOLED)],
      }),
      ...idleHubs({ ready: withoutKafka([be(1, ONSET), be(0)]) }),
      ...menuStands(),
    ],
    moments: [
      { at: after('5m'), firing: {} },
      { at: after('7m'), firing: { BrokerUnreachable: 2, NotReady: 6 } },
      { at: '1h30m', firing: { BrokerUnreachable: 2, NotReady: 6 } },
    ],
  },
  {
    name: 'hubs reach no broker and edges do',
    description: 'Hubs know of no lag, since nobody tells them where the log ends; what edges have published tells it.',
    length: '1h30m',
    interval: '1m',
    series: [...edges(), ...idleHubs({ ready: withoutKafka([be(1, ONSET), be(0)]) }), ...menuStands()],
    moments: [
      { at: after('7m'), firing: { NotReady: 6 } },
      { at: after('11m'), firing: { NotReady: 6 } },
      { at: after('14m'), firing: { NotReady: 6, CompletenessLow: 3 } },
      { at: '1h30m', firing: { NotReady: 6, CompletenessLow: 3 } },
    ],
  },
];

function withoutKafka(plan: Plan): Record<string, Plan> {
  return { kafka_logs: plan, kafka_traces: plan, kafka_metrics: plan };
}

export const OUTAGE_SCENES: Scene[] = [...SILENCE, ...BROKERS];
