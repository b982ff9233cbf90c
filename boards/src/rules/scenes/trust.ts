/** Something is lost, put aside, missing or not known. */
import { be, grow, miss, type Plan } from './plan.ts';
import { ONSET, after, everySignal } from './trouble.ts';
import type { Alerts, Saying, Scene } from './types.ts';
import { TWO_HUBS, edge, edges, hub, hubs, menu, presence, verdicts } from './world.ts';

const says = (
  at: string,
  alert: string,
  labels: Record<string, string>,
  severity: string,
  summary: string,
): Saying => ({
  at,
  alert,
  labels: { ...labels, severity, owner: 'Platform' },
  summary,
});

const LOSSES: Scene[] = [
  {
    name: 'dead letters',
    description:
      'The first letter of a reason is the first sample of its series. A second one comes later, and then one of an edge.',
    length: '3h20m',
    interval: '1m',
    series: [
      ...edge({ instance: 'edge-0', deadLetters: [miss('3h'), be(1)] }),
      ...edge({ instance: 'edge-1' }),
      ...hub({
        instance: 'hub-0',
        partitions: [0],
        deadLetters: [{ signal: 'logs', reason: 'malformed', plan: [miss('40m'), be(1, '2h'), be(2)] }],
      }),
      ...hub({ instance: 'hub-1', partitions: [1] }),
      ...menu(),
    ],
    moments: [
      { at: '40m', firing: {}, pending: {} },
      { at: '41m', firing: { DeadLetters: 1 } },
      { at: '55m', firing: { DeadLetters: 1 } },
      { at: '57m', firing: {} },
      { at: '2h', firing: {} },
      { at: '2h1m', firing: { DeadLetters: 1 } },
      { at: '2h14m', firing: { DeadLetters: 1 } },
      { at: '2h17m', firing: {} },
      { at: '3h1m', firing: { DeadLetters: 1 } },
    ],
    says: [
      says(
        '41m',
        'DeadLetters',
        { signal: 'logs', reason: 'malformed' },
        'ticket',
        'logs: records went to the dead letters (malformed)',
      ),
      says(
        '3h1m',
        'DeadLetters',
        { signal: 'logs', reason: 'too_large' },
        'ticket',
        'logs: records went to the dead letters (too_large)',
      ),
    ],
  },
  {
    name: 'data is lost in four ways',
    description:
      'A log file goes unread, a spool drops by policy, an edge finds damage when it starts, and retention takes records. The last two are first samples.',
    length: '3h',
    interval: '1m',
    series: [
      ...edge({ instance: 'edge-0', lostBytes: [be(0, '40m'), be(4096)], dropped: [be(0, '1h'), be(100)] }),
      ...edge({ instance: 'edge-1', until: '1h29m' }),
      ...edge({ instance: 'edge-2', from: '1h30m', corrupt: [be(12)] }),
      ...hub({ instance: 'hub-0', partitions: [0], lostRecords: [miss('2h'), be(7, '2h5m'), be(9)] }),
      ...hub({ instance: 'hub-1', partitions: [1] }),
      ...menu(),
    ],
    moments: [
      { at: '41m', firing: { DataLost: 1 } },
      { at: '54m', firing: { DataLost: 1 } },
      { at: '57m', firing: {} },
      { at: '1h1m', firing: { DataLost: 1 } },
      { at: '1h17m', firing: {} },
      { at: '1h31m', firing: { DataLost: 1 } },
      { at: '1h47m', firing: {} },
      { at: '2h1m', firing: { DataLost: 1 } },
      { at: '2h19m', firing: { DataLost: 1 } },
      { at: '2h22m', firing: {}, pending: {} },
    ],
    says: [
      says('41m', 'DataLost', { what: 'bytes of log files' }, 'page', 'lost: 4096 bytes of log files'),
      says('1h1m', 'DataLost', { what: 'items dropped by policy' }, 'page', 'lost: 300 items dropped by policy'),
      says('1h31m', 'DataLost', { what: 'items on a damaged disk' }, 'page', 'lost: 36 items on a damaged disk'),
      says('2h1m', 'DataLost', { what: 'records that retention took' }, 'page', 'lost: 7 records that retention took'),
    ],
  },
];

const AUDITS: Scene[] = [
  {
    name: 'an audit finds missing records',
    description: 'Its verdict is one sample, and stands until the next audit has another one.',
    length: '6h',
    interval: '1m',
    series: [...presence(), ...verdicts({ at: '1h' }, { at: '2h', missing: 7, doubled: 1 }, { at: '5h' })],
    moments: [
      { at: '1h30m', firing: {}, pending: {} },
      { at: '2h9m', firing: {}, pending: { AuditResidual: 1 } },
      { at: '2h11m', firing: { AuditResidual: 1 } },
      { at: '4h59m', firing: { AuditResidual: 1 } },
      { at: '5h1m', firing: {}, pending: {} },
    ],
    says: [
      says(
        '3h',
        'AuditResidual',
        { topic: 'otlp_logs' },
        'page',
        'otlp_logs: 8 committed records are missing or stored twice',
      ),
    ],
  },
  {
    name: 'audits stop',
    description: 'The last one is of the second hour.',
    length: '29h',
    interval: '5m',
    series: [...presence(), ...verdicts({ at: '2h' })],
    moments: [
      { at: '28h', firing: {}, pending: {} },
      { at: '28h5m', firing: { AuditStale: 1 } },
      { at: '29h', firing: { AuditStale: 1 } },
    ],
    says: [says('29h', 'AuditStale', {}, 'ticket', 'no audit has come to its end for 1d 3h 0m 0s or longer')],
  },
  {
    name: 'nobody ever audits',
    description: "A new installation has a day's time for its first one.",
    length: '27h',
    interval: '5m',
    series: presence(),
    moments: [
      { at: '25h', firing: {}, pending: {} },
      { at: '26h5m', firing: { AuditStale: 1 } },
    ],
  },
];

/** What hubs derive is not pushed from the onset on. */
const unpushed = menu(
  {},
  TWO_HUBS.map((deriver) => ({ ...deriver, until: ONSET, killed: true })),
);
const frozen: Plan = [grow(1, ONSET), grow(0)];

const COUNTS: Scene[] = [
  {
    name: 'a tenth of the logs is not stored',
    description: 'Nothing is behind, and nothing says why. Metrics are refused as often, and are counted as that.',
    length: '2h',
    interval: '1m',
    series: [
      ...edges(),
      ...hubs({
        stored: { logs: [grow(10, ONSET), grow(9)], metrics: [grow(10, ONSET), grow(9)] },
        rejected: [miss(ONSET), grow(0.5)],
        dropped: [miss(ONSET), grow(0.5)],
      }),
      ...menu(),
    ],
    moments: [
      { at: after('23m'), firing: {} },
      { at: after('28m'), firing: { CompletenessLow: 1 } },
      { at: '2h', firing: { CompletenessLow: 1 } },
    ],
    says: [
      says(
        '2h',
        'CompletenessLow',
        { signal: 'logs' },
        'ticket',
        'only 90% of the logs that senders were told are safe have been stored, and nothing is behind',
      ),
    ],
  },
  {
    name: 'Mimir takes no derived series',
    description:
      'What edges and hubs tell of themselves still arrives. The hubs are degraded, and alerts on the Menu API see nothing.',
    length: '1h30m',
    interval: '1m',
    series: [...edges(), ...hubs({ cannotPush: [be(0, ONSET), be(1)], lastPush: frozen }), ...unpushed],
    moments: staleFrom('5m', '7m', { DerivedSeriesStale: 2 }),
    says: ['hub-0:9465', 'hub-1:9465'].map((instance) =>
      says('1h', 'DerivedSeriesStale', { instance }, 'ticket', `hub ${instance} does not get stored what it derives`),
    ),
  },
  {
    name: 'a push hangs',
    description:
      'One hub pushes nothing and does not say so. The other has no menu line to count yet, which is no trouble.',
    length: '1h30m',
    interval: '1m',
    series: [
      ...edges(),
      ...hub({ instance: 'hub-0', partitions: [0], lastPush: frozen }),
      ...hub({ instance: 'hub-1', partitions: [1], lastPush: [be(0)] }),
      ...unpushed.filter(({ labels }) => labels['instance'] === 'hub-0'),
    ],
    moments: staleFrom('7m', '9m', { DerivedSeriesStale: 1 }),
  },
  {
    name: 'a hub never could push',
    description: 'Mimir has refused what it derives since its start.',
    length: '1h',
    interval: '1m',
    series: [...edges(), ...hubs({ cannotPush: [be(1)], lastPush: [be(0)], stored: everySignal([grow(10)]) })],
    moments: [
      { at: '4m', firing: {}, pending: { DerivedSeriesStale: 2 } },
      { at: '1h', firing: { DerivedSeriesStale: 2 } },
    ],
  },
];

function staleFrom(before: string, from: string, firing: Alerts) {
  return [
    { at: after(before), firing: {}, pending: firing },
    { at: after(from), firing },
    { at: '1h30m', firing },
  ];
}

export const TRUST_SCENES: Scene[] = [...LOSSES, ...AUDITS, ...COUNTS];
