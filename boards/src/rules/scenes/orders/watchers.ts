/** Who watches falls silent, or stands; and what the other alerts of the order flow speak of. */
import { be, during, grow, type Life } from '../plan.ts';
import type { Scene, Series } from '../types.ts';
import { flows } from './flow.ts';

const ONSET = '20m';
const COUNTRY = { perSecond: 20 };

const living = (life: Life, series: Series): Series => ({ ...series, plan: during(life, series.plan) });

export const WATCHER_SCENES: Scene[] = [
  {
    name: 'the reconciler is killed',
    description: 'Its last samples stand. No outcome and no age can page any more.',
    length: '40m',
    interval: '10s',
    series: flows([{ market: 'at', ...COUNTRY }], { until: ONSET, killed: true }),
    moments: [
      { at: '22m', firing: {} },
      { at: '40m', firing: { OrderReconcilerSilent: 1 }, pending: {} },
    ],
    // The watermark is looked up for five minutes; then only its silence speaks.
    first: [{ since: ONSET, alerts: { OrderReconcilerSilent: '130s', OrderReconcilerBehind: '240s' } }],
    says: [
      {
        at: '30m',
        alert: 'OrderReconcilerSilent',
        labels: { severity: 'page', owner: 'SRE' },
        summary: 'nobody compares paid orders with confirmed ones',
      },
    ],
  },
  {
    name: 'what the reconciler reads stands still',
    description: 'Its cycles end well. Orders do not grow older meanwhile, though all of them are lost.',
    length: '40m',
    interval: '10s',
    series: flows([{ market: 'at', ...COUNTRY, age: [be(2)] }], {}, [grow(1, ONSET), be(1200)]),
    moments: [
      { at: '24m', firing: {}, pending: { OrderReconcilerBehind: 1 } },
      { at: '40m', firing: { OrderReconcilerBehind: 1 } },
    ],
    first: [{ since: ONSET, alerts: { OrderReconcilerBehind: '250s' } }],
    says: [
      {
        at: '30m',
        alert: 'OrderReconcilerBehind',
        labels: { severity: 'page', owner: 'SRE' },
        summary: 'orders of the last 10m 0s are not judged: their events are not complete',
      },
    ],
  },
  {
    name: 'a reconciler was never started',
    description: 'Orders are charged.',
    length: '20m',
    interval: '10s',
    series: flows([{ market: 'at', ...COUNTRY }], { from: '20m' }),
    moments: [{ at: '10m', firing: { OrderReconcilerSilent: 1 } }],
    first: [{ since: '0s', alerts: { OrderReconcilerSilent: '180s' } }],
  },
  {
    name: 'the prober of one market is killed, that of another ends in order, and a third never had one',
    description: 'Orders arrive in all three. Nobody would see it if they did not.',
    length: '40m',
    interval: '10s',
    series: flows([
      { market: 'at', ...COUNTRY, canary: { until: ONSET, killed: true } },
      { market: 'ch', ...COUNTRY, canary: { from: '1d' } },
      { market: 'de', ...COUNTRY, canary: { until: ONSET } },
      { market: 'it', ...COUNTRY },
    ]),
    moments: [
      { at: '3m', firing: { OrderCanaryMissing: 1 } },
      { at: '23m', firing: { OrderCanaryMissing: 1 } },
      { at: '24m', firing: { OrderCanaryMissing: 3 } },
      { at: '40m', firing: { OrderCanaryMissing: 3 }, pending: {} },
    ],
    first: [
      { since: ONSET, market: 'at', alerts: { OrderCanaryMissing: '190s' } },
      { since: '0s', market: 'ch', alerts: { OrderCanaryMissing: '180s' } },
      { since: ONSET, market: 'de', alerts: { OrderCanaryMissing: '190s' } },
      { since: ONSET, market: 'it', alerts: {} },
    ],
    says: ['at', 'ch', 'de'].map((market) => ({
      at: '40m',
      alert: 'OrderCanaryMissing',
      labels: { market, severity: 'page', owner: 'SRE' },
      summary: `${market}: no synthetic order was confirmed for three minutes or longer`,
    })),
  },
  {
    name: 'orders go to the dead letters',
    description: 'Two at once, one of which stays for thirteen minutes.',
    length: '35m',
    interval: '10s',
    series: flows([
      {
        market: 'at',
        ...COUNTRY,
        deadLetters: { count: [be(0, ONSET), be(2)], age: [be(0, ONSET), grow(1, '33m'), be(0)] },
      },
    ]),
    moments: [
      { at: '26m', firing: { OrderDeadLetters: 1 } },
      { at: '32m', firing: { OrderDeadLetters: 1 } },
      { at: '34m', firing: {}, pending: {} },
    ],
    first: [{ since: ONSET, alerts: { OrderDeadLetters: '10s' } }],
    says: [
      {
        at: '25m',
        alert: 'OrderDeadLetters',
        labels: { market: 'at', topic: 'orders.at.dlq', severity: 'page', owner: 'Restaurant team' },
        summary: 'orders.at.dlq: orders are in the dead letters',
      },
    ],
  },
  {
    name: 'restaurants are silent altogether',
    description: 'The consumer is killed: there is no series of acknowledgements at all after five minutes.',
    length: '40m',
    interval: '10s',
    series: flows([{ market: 'at', ...COUNTRY }]).map((series) =>
      series.labels['job'] === 'restaurant-service' ? living({ until: ONSET, killed: true }, series) : series,
    ),
    moments: [{ at: '40m', firing: { OrderFlowSevered: 1 } }],
    first: [{ since: ONSET, alerts: { OrderFlowSevered: '170s' } }],
  },
  {
    name: 'the flow ends in order',
    description: 'No charge, no acknowledgement: that is no severed flow. The prober says that nobody can order.',
    length: '40m',
    interval: '10s',
    series: flows([{ market: 'at', ...COUNTRY }]).map((series) =>
      series.labels['instance'] === 'reconcile' ? series : living({ until: ONSET }, series),
    ),
    moments: [{ at: '40m', firing: { OrderCanaryMissing: 1 } }],
  },
];
