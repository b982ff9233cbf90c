/** What happens to the Menu API, while the line works. */
import { be, begins, clock, counts, grow, seconds, steps, type Plan } from './plan.ts';
import type { Scene } from './types.ts';
import { TWO_HUBS, edges, hub, line, menu, presence, verdicts, type Deriver } from './world.ts';

/** Long enough before the trouble for every window of the rules to be full. */
const HISTORY = '6h';

/** A time after the beginning of the trouble. */
const after = (duration: string) => clock(seconds(HISTORY) + seconds(duration));

/** Failures at this rate a second from the end of the history on. */
const failing = (perSecond: number, duration?: string): Plan =>
  duration === undefined
    ? begins(HISTORY, grow(perSecond))
    : [...begins(HISTORY, grow(perSecond, after(duration))), grow(0)];

const EVENING = [grow(2, '1h'), grow(0.6, '2h'), grow(0.2, '3h')];
const IN_THE_EVENING = 10_080;
const ONE_HUB: Deriver[] = [{ instance: 'hub-0', share: 1 }];

const QUIET: Scene[] = [
  {
    name: 'a normal day',
    description:
      'Traffic rises to noon and falls to the night, one list in two thousand fails, the service is started twice, and audits find nothing.',
    length: '8h',
    interval: '1m',
    series: [
      ...line(),
      ...menu({
        lists: [grow(1, '1h'), grow(4, '3h'), grow(9, '5h'), grow(5, '6h'), grow(2, '7h'), grow(0.6)],
        failedLists: [
          grow(0.0005, '1h'),
          grow(0.002, '3h'),
          grow(0.0045, '5h'),
          grow(0.0025, '6h'),
          grow(0.001, '7h'),
          grow(0.0003),
        ],
        starts: counts('5h', '5h2m'),
      }),
      ...verdicts({ at: '3h' }),
    ],
    moments: [
      { at: '1h', firing: {}, pending: {} },
      { at: '4h', firing: {}, pending: {} },
      { at: '8h', firing: {}, pending: {} },
    ],
    says: [
      {
        at: '1h',
        alert: 'Watchdog',
        labels: { severity: 'watchdog', owner: 'Platform' },
        summary: 'the way from rules to the pager works',
      },
    ],
  },
  {
    name: 'a quiet night with one request a minute',
    description: 'Traffic falls over three hours to a request a minute, of which one fails.',
    length: '6h',
    interval: '1m',
    series: [
      ...line(),
      ...menu(
        {
          lists: [...EVENING, ...steps('3h', '6h', '1m', IN_THE_EVENING)],
          items: [...EVENING, grow(0)],
          unknownItems: [be(0)],
          failedLists: begins('5h', be(1)),
          lines: [grow(4, '1h'), grow(1.2, '2h'), grow(0.4, '3h'), grow(0.05)],
        },
        ONE_HUB,
      ),
    ],
    moments: [
      { at: '3h30m', firing: {}, pending: {} },
      { at: '5h2m', firing: {}, pending: {} },
      { at: '6h', firing: {}, pending: {} },
    ],
  },
  {
    name: 'a quieter night with a request in ten minutes',
    description: 'One of six in the hour is slow, which is a burn rate of 17.',
    length: '3h',
    interval: '1m',
    series: [
      ...presence(),
      ...menu(
        {
          lists: steps('10m', '3h', '10m'),
          fastLists: [...steps('10m', '1h50m', '10m').slice(0, -1), be(11, '2h9m'), ...steps('2h10m', '3h', '10m', 11)],
          items: [be(0)],
          unknownItems: [be(0)],
          lines: [grow(0.05)],
        },
        ONE_HUB,
      ),
    ],
    moments: [
      { at: '2h3m', firing: {}, pending: {} },
      { at: '3h', firing: {}, pending: {} },
    ],
  },
  {
    name: 'an unavailable item in demand',
    description: 'Views of an item that cannot be ordered multiply by ten. That is for a panel, and wakes nobody.',
    length: '2h',
    interval: '1m',
    series: [...line(), ...menu({ items: [grow(8, '1h'), grow(80)], lines: [grow(14, '1h'), grow(86)] })],
    moments: [
      { at: '1h30m', firing: {}, pending: {} },
      { at: '2h', firing: {}, pending: {} },
    ],
  },
];

const FAILING: Scene[] = [
  {
    name: 'ten percent of lists fail from the start',
    description:
      'The service as it is given, looked at from its first request on: there is no good hour that hides the failures. Another one is well.',
    length: '50m',
    interval: '10s',
    series: [
      ...line(),
      ...menu({ lists: [grow(4.5, '40m'), grow(5)], failedLists: [grow(0.5, '40m'), grow(0)] }),
      ...menu({}, TWO_HUBS, 'another-menu'),
    ],
    moments: [
      { at: '2m', firing: {}, pending: { MenuAvailabilityBurnFast: 1, MenuAvailabilityBurnSlow: 1 } },
      { at: '2m20s', firing: { MenuAvailabilityBurnFast: 1 } },
      { at: '15m', firing: { MenuAvailabilityBurnFast: 1 } },
      { at: '15m20s', firing: { MenuAvailabilityBurnFast: 1, MenuAvailabilityBurnSlow: 1 } },
      { at: '40m', firing: { MenuAvailabilityBurnFast: 1, MenuAvailabilityBurnSlow: 1 } },
      { at: '45m', firing: { MenuAvailabilityBurnSlow: 1 } },
    ],
    says: [
      {
        at: '10m',
        alert: 'MenuAvailabilityBurnFast',
        labels: { service: 'menu-api', severity: 'page', owner: 'Menu team' },
        summary: 'menu-api: menus fail; the error budget burns 100 times too fast',
      },
      {
        at: '30m',
        alert: 'MenuAvailabilityBurnSlow',
        labels: { service: 'menu-api', severity: 'ticket', owner: 'Menu team' },
        summary: 'menu-api: menus fail; the error budget burns 100 times too fast',
      },
    ],
    everyMinute: [
      { at: '2m', firing: {} },
      { at: '4m', firing: { MenuAvailabilityBurnFast: 1 } },
      { at: '15m', firing: { MenuAvailabilityBurnFast: 1 } },
      { at: '17m', firing: { MenuAvailabilityBurnFast: 1, MenuAvailabilityBurnSlow: 1 } },
      { at: '46m', firing: { MenuAvailabilityBurnSlow: 1 } },
    ],
  },
  {
    name: 'ten percent of lists fail after good hours',
    description:
      'The hour has to hold 1.44 % of failures before anybody is woken, which takes 8 min 40 s; then two minutes more.',
    length: '8h',
    interval: '1m',
    series: [
      ...presence(),
      ...menu({ lists: [grow(5, HISTORY), grow(4.5, after('1h')), grow(5)], failedLists: failing(0.5, '1h') }),
    ],
    moments: [
      { at: HISTORY, firing: {}, pending: {} },
      { at: after('10m'), firing: {} },
      { at: after('12m'), firing: { MenuAvailabilityBurnFast: 1 } },
      { at: after('36m'), firing: { MenuAvailabilityBurnFast: 1 } },
      { at: after('38m'), firing: { MenuAvailabilityBurnFast: 1, MenuAvailabilityBurnSlow: 1 } },
      { at: after('1h3m'), firing: { MenuAvailabilityBurnFast: 1, MenuAvailabilityBurnSlow: 1 } },
      { at: after('1h5m'), firing: { MenuAvailabilityBurnSlow: 1 } },
      { at: after('1h27m'), firing: { MenuAvailabilityBurnSlow: 1 } },
      { at: after('1h29m'), firing: {}, pending: {} },
    ],
  },
  {
    name: 'no list succeeds',
    description: 'A total outage of the menu; items are still served.',
    length: '7h',
    interval: '1m',
    series: [...presence(), ...menu({ lists: [grow(5, HISTORY), grow(0)], failedLists: failing(5) })],
    moments: [
      { at: after('2m'), firing: {} },
      { at: after('4m'), firing: { MenuAvailabilityBurnFast: 1 } },
      { at: after('17m'), firing: { MenuAvailabilityBurnFast: 1 } },
      { at: after('19m'), firing: { MenuAvailabilityBurnFast: 1, MenuAvailabilityBurnSlow: 1 } },
      { at: after('1h'), firing: { MenuAvailabilityBurnFast: 1, MenuAvailabilityBurnSlow: 1 } },
    ],
  },
  {
    name: 'one percent of lists fails for hours',
    description: 'Too little to wake anybody, and enough to spend the budget of a month in three days.',
    length: '11h',
    interval: '1m',
    series: [...presence(), ...menu({ failedLists: failing(0.05) })],
    moments: [
      { at: after('3h45m'), firing: {} },
      { at: after('4h'), firing: { MenuAvailabilityBurnSlow: 1 } },
      { at: after('5h'), firing: { MenuAvailabilityBurnSlow: 1 } },
    ],
  },
  {
    name: 'half of the lists are slow',
    description:
      'They come within a quarter of a second, which is above the objective of a tenth. Items are as fast as ever.',
    length: '7h30m',
    interval: '1m',
    series: [
      ...presence(),
      ...menu({
        items: [grow(5)],
        unknownItems: [be(0)],
        fastLists: [grow(5, HISTORY), grow(2.5, after('1h')), grow(5)],
      }),
    ],
    moments: [
      // A quarter of good answers: it has to last 57.6 % of the hour.
      { at: after('35m'), firing: {} },
      { at: after('38m'), firing: { MenuLatencyBurnFast: 1 } },
      { at: after('1h'), firing: { MenuLatencyBurnFast: 1 } },
      { at: after('1h4m'), firing: {} },
    ],
  },
  {
    name: 'answers are slow from the start',
    description: 'Nine of ten lists and every item take longer than the objective.',
    length: '30m',
    interval: '1m',
    series: [...line(), ...menu({ fastLists: [grow(0.5)], fastItems: [be(0)] })],
    moments: [
      { at: '2m', firing: {}, pending: { MenuLatencyBurnFast: 1, MenuLatencyBurnSlow: 1 } },
      { at: '3m', firing: { MenuLatencyBurnFast: 1 } },
      { at: '15m', firing: { MenuLatencyBurnFast: 1 } },
      { at: '16m', firing: { MenuLatencyBurnFast: 1, MenuLatencyBurnSlow: 1 } },
    ],
    says: [
      {
        at: '10m',
        alert: 'MenuLatencyBurnFast',
        labels: { service: 'menu-api', severity: 'page', owner: 'Menu team' },
        summary: 'menu-api: good answers take more than 0.1 s; the error budget burns 96 times too fast',
      },
      {
        at: '30m',
        alert: 'MenuLatencyBurnSlow',
        labels: { service: 'menu-api', severity: 'ticket', owner: 'Menu team' },
        summary: 'menu-api: good answers take more than 0.1 s; the error budget burns 96 times too fast',
      },
    ],
  },
];

const SERVICE: Scene[] = [
  {
    name: 'the service is gone',
    description: 'No request line comes any more, while edges and hubs live. The page lasts as long as the outage.',
    length: '3h',
    interval: '1m',
    series: [
      ...line(),
      ...menu({
        lists: [grow(5, '1h'), grow(0, '2h30m'), grow(5)],
        items: [grow(8, '1h'), grow(0, '2h30m'), grow(8)],
        unknownItems: [grow(0.1, '1h'), grow(0, '2h30m'), grow(0.1)],
        lines: [grow(14, '1h'), grow(0, '2h30m'), grow(14)],
      }),
    ],
    moments: [
      { at: '1h8m', firing: {}, pending: { MenuTrafficGone: 1 } },
      { at: '1h10m', firing: { MenuTrafficGone: 1 } },
      { at: '1h36m', firing: { MenuTrafficGone: 1 } },
      { at: '2h', firing: { MenuTrafficGone: 1 } },
      { at: '2h30m', firing: { MenuTrafficGone: 1 } },
      { at: '2h32m', firing: {}, pending: {} },
    ],
    says: [
      {
        at: '2h',
        alert: 'MenuTrafficGone',
        labels: { service: 'menu-api', severity: 'page', owner: 'Menu team' },
        summary: 'menu-api: traffic fell to less than a twentieth of what it was',
      },
    ],
  },
  {
    name: 'the service is gone and the hub restarts',
    description: 'The new hub has no series of requests, since there are none. That is no recovery.',
    length: '3h',
    interval: '1m',
    series: [
      ...edges(),
      ...hub({ instance: 'hub-0', until: '1h4m', killed: true }),
      ...hub({ instance: 'hub-1', from: '1h5m', lastPush: [be(0)] }),
      ...menu({ lists: [grow(5, '1h'), grow(0)], items: [grow(8, '1h'), grow(0)], lines: [grow(14, '1h'), grow(0)] }, [
        { instance: 'hub-0', share: 1, until: '1h4m', killed: true },
      ]),
    ],
    moments: [
      // While the old hub's last push looks late, the silence may be its doing.
      { at: '1h13m', firing: {} },
      { at: '1h15m', firing: { MenuTrafficGone: 1 } },
      { at: '3h', firing: { MenuTrafficGone: 1 } },
    ],
  },
  {
    name: 'ids that do not exist',
    description: 'Somebody tries ids, twenty a second. No text of a visitor is a label: all of them are one series.',
    length: '2h30m',
    interval: '1m',
    series: [
      ...line(),
      ...menu({
        unknownItems: [grow(0.1, '1h'), grow(20, '2h'), grow(0.1)],
        lines: [grow(14, '1h'), grow(34, '2h'), grow(14)],
      }),
    ],
    moments: [
      { at: '1h13m', firing: {}, pending: { MenuUnknownIds: 1 } },
      { at: '1h15m', firing: { MenuUnknownIds: 1 } },
      { at: '2h5m', firing: { MenuUnknownIds: 1 } },
      { at: '2h7m', firing: {}, pending: {} },
    ],
    says: [
      {
        at: '1h30m',
        alert: 'MenuUnknownIds',
        labels: { service: 'menu-api', severity: 'ticket', owner: 'Product' },
        summary: 'menu-api: more than half of the requests for items are for ids that do not exist',
      },
    ],
  },
  {
    name: 'the service restarts',
    description:
      'Four replicas are rolled out, and nobody hears of it. Two hours later the service crashes and is restarted with growing pauses.',
    length: '4h',
    interval: '1m',
    series: [
      ...line(),
      ...menu({
        starts: counts('1h', '1h1m', '1h2m', '1h3m', '3h', '3h20s', '3h1m', '3h2m20s', '3h5m', '3h10m', '3h15m'),
      }),
    ],
    moments: [
      { at: '1h20m', firing: {}, pending: {} },
      { at: '3h5m', firing: {}, pending: { MenuServiceRestarts: 1 } },
      { at: '3h6m', firing: { MenuServiceRestarts: 1 } },
      { at: '3h28m', firing: { MenuServiceRestarts: 1 } },
      { at: '3h32m', firing: {}, pending: {} },
    ],
    says: [
      {
        at: '3h20m',
        alert: 'MenuServiceRestarts',
        labels: { service: 'menu-api', severity: 'ticket', owner: 'Menu team' },
        summary: 'menu-api started 7 times in half an hour',
      },
    ],
  },
  {
    name: 'lines that cannot be read',
    description:
      'A stack trace of 200 lines is no changed format. From the second hour on every twentieth line is no JSON.',
    length: '3h30m',
    interval: '1m',
    series: [
      ...line(),
      ...menu({
        unreadableLines: [be(0, '1h'), be(200, '2h'), grow(0.7, '3h'), grow(0)],
        lines: [grow(14, '2h'), grow(13.3, '3h'), grow(14)],
      }),
    ],
    moments: [
      { at: '1h5m', firing: {}, pending: { MenuLogUnreadable: 1 } },
      { at: '1h30m', firing: {}, pending: {} },
      { at: '2h16m', firing: {} },
      { at: '2h18m', firing: { MenuLogUnreadable: 1 } },
      { at: '3h7m', firing: { MenuLogUnreadable: 1 } },
      { at: '3h9m', firing: {}, pending: {} },
    ],
    says: [
      {
        at: '3h',
        alert: 'MenuLogUnreadable',
        labels: { service: 'menu-api', severity: 'ticket', owner: 'Menu team' },
        summary: 'menu-api: more than one line in a hundred is no JSON',
      },
    ],
  },
];

export const MENU_SCENES: Scene[] = [...QUIET, ...FAILING, ...SERVICE];
