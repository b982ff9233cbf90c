/** Nights and evenings on which nobody is paged. */
import { be, clock, counts, grow, steps, type Plan } from '../plan.ts';
import type { Scene } from '../types.ts';
import { flows } from './flow.ts';

/** From ten in the evening: an order in a few seconds, then one in two minutes, then none for hours, then breakfast. */
const NIGHT: Plan = [
  ...steps('20s', '2h', '20s'),
  ...steps('2h2m', '5h', '2m', 360),
  be(450, '9h'),
  ...steps('9h10m', '12h', '10m', 450),
  ...steps('12h30s', '24h', '30s', 468),
];

/** A value that rises by a second a second from a time on, for so many seconds, every so often. */
const waits = (...spans: [at: number, lasting: number][]): Plan => [
  ...spans.flatMap(([at, lasting]): Plan => [be(2, clock(at)), grow(1, clock(at + lasting))]),
  be(2),
];

const HOUR = 3600;

export const QUIET_SCENES: Scene[] = [
  {
    name: 'a healthy night of 24 hours with little traffic',
    description:
      'Orders come one by one and stay away for hours. Some are late, cancelled, rejected, refunded; some wait for three minutes and more; telemetry is late by a minute.',
    length: '1d',
    interval: '1m',
    series: flows(
      [
        {
          market: 'at',
          perSecond: 0.05,
          traffic: NIGHT,
          outcomes: {
            restaurant_acked_late: counts('1h30m', '4h', '14h', '20h'),
            cancelled: counts('1h', '3h', '13h', '13h5m'),
            rejected: counts('1h10m', '15h', '15h1m', '15h2m', '15h3m'),
            refunded: counts('1h20m', '16h', '16h1m', '16h2m', '16h3m'),
          },
          age: waits([1.5 * HOUR, 170], [4 * HOUR, 178], [14 * HOUR, 225], [20 * HOUR, 178]),
        },
      ],
      {},
      [grow(1, '6h'), be(6 * HOUR, '6h1m'), be(6 * HOUR + 60, '6h1m'), grow(1)],
    ),
    moments: [
      { at: '5h', firing: {}, pending: {} },
      { at: '1d', firing: {}, pending: {} },
    ],
  },
  {
    name: 'an evening that triples in ten minutes',
    description:
      'Confirmations follow charges by seconds, so the two part at the ramp; one order in two thousand is late.',
    length: '3h',
    interval: '1m',
    series: flows([
      {
        market: 'at',
        perSecond: 20,
        traffic: [grow(20, '1h'), ...ramp(), grow(60, '2h'), grow(20)],
        outcomes: { restaurant_acked_late: [grow(0.01)] },
        age: [be(120)],
      },
    ]),
    moments: [
      { at: '1h15m', firing: {}, pending: {} },
      { at: '3h', firing: {}, pending: {} },
    ],
  },
  {
    name: 'the order flow does not run',
    description: 'Rules of orders were loaded where nobody sells anything. Nothing waits for it.',
    length: '30m',
    interval: '1m',
    series: [{ name: 'menu_requests_total', labels: { service: 'menu-api' }, plan: [grow(5)] }],
    moments: [{ at: '30m', firing: {}, pending: {} }],
  },
  {
    name: 'the flow is started, its prober and its reconciler a minute later',
    description: 'Neither has said anything before.',
    length: '20m',
    interval: '10s',
    series: flows([{ market: 'at', perSecond: 20, canary: { from: '1m' } }], { from: '1m' }),
    moments: [{ at: '20m', firing: {}, pending: {} }],
  },
];

/** From 20 to 60 a second in ten minutes. */
function ramp(): Plan {
  return Array.from({ length: 10 }, (_, minute) => grow(24 + 4 * minute, clock(HOUR + 60 * (minute + 1))));
}
