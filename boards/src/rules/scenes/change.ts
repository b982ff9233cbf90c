/** Somebody works on the line, and nobody has to hear of it. */
import { be, grow, type Plan } from './plan.ts';
import { everySignal } from './trouble.ts';
import type { Scene } from './types.ts';
import { edge, edges, hub, hubs, line, menu } from './world.ts';

/** What the successor of a hub that was away for so many seconds counts: the backlog is stored before its first sample. */
const successor = (perSecond: number, from: string, seconds: number): Plan => [
  be(perSecond * seconds, from),
  grow(perSecond),
];

/** The same of its derived series, which begin with 0. */
const derived = (perSecond: number, zero: string, from: string, seconds: number): Plan => [
  be(0, zero),
  be(perSecond * seconds, from),
  grow(perSecond),
];

const STEADY: Scene['moments'] = [
  { at: '1h', firing: {}, pending: {} },
  { at: '1h30m', firing: {}, pending: {} },
];

export const CHANGE_SCENES: Scene[] = [
  {
    name: 'a range is replayed twice',
    description:
      'The replay stores rows again that were deleted. It derives nothing, and counts as a process of its own.',
    length: '1h30m',
    interval: '1m',
    series: [
      ...line(),
      ...menu(),
      {
        name: 'hub_items_stored_total',
        labels: { job: 'hub-consumer', instance: 'replay', signal: 'logs' },
        plan: [be(0, '30m'), grow(5000, '40m'), grow(0, '50m'), grow(5000, '1h'), grow(0)],
      },
      {
        name: 'ready_condition',
        labels: { job: 'hub-consumer', instance: 'replay', condition: 'replay' },
        plan: [be(1)],
      },
    ],
    moments: STEADY,
  },
  {
    name: 'the only hub is killed and its successor stores the backlog',
    description:
      'Three minutes pass. Counters begin anew under another name, and their first sample holds all of the backlog.',
    length: '1h30m',
    interval: '1m',
    series: [
      ...edges(),
      ...hub({ instance: 'hub-0', until: '40m', killed: true }),
      ...hub({
        instance: 'hub-1',
        from: '43m',
        stored: everySignal(successor(20, '44m', 240)),
        told: () => ({
          seconds: [be(200, '44m'), be(0.5)],
          records: [be(400, '44m'), be(1)],
          drain: [be(60, '44m'), be(0)],
        }),
      }),
      ...menu({}, [{ instance: 'hub-0', share: 1, until: '40m', killed: true }]),
      ...menu(
        {
          lists: derived(5, '44m', '45m', 300),
          items: derived(8, '44m', '45m', 300),
          unknownItems: derived(0.1, '44m', '45m', 300),
          lines: derived(14, '44m', '45m', 300),
        },
        [{ instance: 'hub-1', share: 1, from: '43m' }],
      ),
    ],
    moments: [{ at: '42m', firing: {}, pending: { HubsSilent: 1 } }, { at: '44m', firing: {} }, ...STEADY],
  },
  {
    name: 'edges are rolled out',
    description: 'One after the other ends in order and begins anew, as another pod.',
    length: '1h30m',
    interval: '1m',
    series: [
      ...edge({ instance: 'edge-0', until: '40m' }),
      ...edge({ instance: 'edge-1', until: '44m' }),
      ...edge({ instance: 'edge-2', from: '41m', brokerUp: [be(0, '42m'), be(1)] }),
      ...edge({ instance: 'edge-3', from: '45m', brokerUp: [be(0, '46m'), be(1)] }),
      ...hubs(),
      ...menu(),
    ],
    moments: STEADY,
  },
  {
    name: 'hubs are rolled out',
    description: 'Each hands its partitions over in order. The new ones are not ready for a minute.',
    length: '1h30m',
    interval: '1m',
    series: [
      ...edges(),
      ...hub({ instance: 'hub-0', partitions: [0], until: '40m' }),
      ...hub({ instance: 'hub-1', partitions: [1], until: '44m' }),
      ...hub({ instance: 'hub-2', partitions: [0], from: '41m', ready: { kafka_logs: [be(0, '42m'), be(1)] } }),
      ...hub({ instance: 'hub-3', partitions: [1], from: '45m', ready: { kafka_logs: [be(0, '46m'), be(1)] } }),
      ...menu({}, [
        { instance: 'hub-0', share: 0.5, until: '40m', killed: true },
        { instance: 'hub-1', share: 0.5, until: '44m', killed: true },
        { instance: 'hub-2', share: 0.5, from: '41m' },
        { instance: 'hub-3', share: 0.5, from: '45m' },
      ]),
    ],
    moments: STEADY,
  },
];
