/** A loss is mended: what every page says, and when it ends. */
import type { Scene } from '../types.ts';
import { flows, type Fault } from './flow.ts';

const ONSET = '1h';
const MENDED = '1h10m';

/** All orders of ten minutes, mended, and refunded two minutes later. */
const total = (market: string, fault: Fault) => ({
  market,
  perSecond: 20,
  loss: { fault, share: 1, from: ONSET, until: MENDED, refundedAt: '1h12m' },
});

const order = (market: string, alert: string, summary: string) => ({
  at: '1h9m',
  alert,
  labels: { market, severity: 'page', owner: 'Order team' },
  summary: `${market}: ${summary}`,
});

export const MENDED_SCENES: Scene[] = [
  {
    name: 'total losses of ten minutes are mended and refunded',
    description: 'The consumer of one market, the binding of a second, and a reader in a third.',
    length: '2h',
    interval: '1m',
    series: flows([total('at', 'ack-before-store'), total('ch', 'publish-to-nowhere'), total('de', 'foreign-reader')]),
    moments: [
      {
        at: '1h9m',
        firing: {
          OrderFlowSevered: 3,
          OrderCanaryMissing: 3,
          OrderUnconfirmedTooLong: 3,
          OrderConfirmationBurnFast: 3,
          OrderConfirmationBurnSlow: 3,
          OrderConsumerLedger: 1,
          OrderUnroutable: 1,
          OrderPublishGap: 1,
          OrderForeignReader: 1,
        },
      },
      { at: '2h', firing: {}, pending: {} },
    ],
    says: [
      ...['at', 'ch', 'de'].flatMap((market) => [
        order(market, 'OrderFlowSevered', '20.00 orders a second are charged and no restaurant acknowledges any'),
        order(market, 'OrderUnconfirmedTooLong', 'an order is paid for 9m 2s and no restaurant has confirmed it'),
        order(
          market,
          'OrderConfirmationBurnFast',
          'paid orders are not confirmed; the error budget burns 114 times too fast',
        ),
        order(
          market,
          'OrderConfirmationBurnSlow',
          'paid orders are not confirmed; the error budget burns 99 times too fast',
        ),
      ]),
      {
        at: '1h9m',
        alert: 'OrderConsumerLedger',
        labels: { market: 'at', group: 'restaurant-service.at', severity: 'page', owner: 'Restaurant team' },
        summary: 'restaurant-service.at: about 12000 orders were taken in ten minutes and came to no end',
      },
      {
        at: '1h4m',
        alert: 'OrderUnroutable',
        labels: { market: 'ch', severity: 'page', owner: 'Platform' },
        summary: 'ch: about 4800 orders were published to where nobody is bound',
      },
      {
        at: '1h9m',
        alert: 'OrderPublishGap',
        labels: { market: 'ch', severity: 'ticket', owner: 'Order team' },
        summary: 'ch: about 12000 orders of ten minutes are in no partition',
      },
      {
        at: '1h4m',
        alert: 'OrderForeignReader',
        labels: {
          market: 'de',
          group: 'restaurant-service.de',
          client: 'orders-debug',
          severity: 'page',
          owner: 'Platform',
        },
        summary: 'orders-debug reads as a member of restaurant-service.de',
      },
    ],
  },
  {
    name: 'a poisoned filter of duplicates is emptied',
    description: 'It skipped all orders for ten minutes.',
    length: '1h45m',
    interval: '1m',
    series: flows([total('at', 'dedup-poisoned')]),
    moments: [
      {
        at: '1h9m',
        firing: {
          OrderFlowSevered: 1,
          OrderCanaryMissing: 1,
          OrderUnconfirmedTooLong: 1,
          OrderConfirmationBurnFast: 1,
          OrderConfirmationBurnSlow: 1,
          OrdersSkipped: 1,
        },
      },
      { at: '1h45m', firing: {}, pending: {} },
    ],
    says: [
      {
        at: '1h9m',
        alert: 'OrdersSkipped',
        labels: { market: 'at', severity: 'ticket', owner: 'Restaurant team' },
        summary: 'at: the consumer skipped about 10800 orders in ten minutes',
      },
    ],
  },
];
