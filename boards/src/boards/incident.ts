/** `incident`: who paid and gets no meal, where the orders go, and what stayed green meanwhile. */
import { type Board, place } from '../build/dashboard.ts';
import { stat } from '../build/panels.ts';
import { market } from '../build/variables.ts';
import * as panels from './panels/incident.ts';

export const incident: Board = {
  uid: 'incident',
  title: 'Incident: paid orders',
  description:
    'Whether orders that are paid reach a restaurant, and between which two points they go when they do not. It has data only where the order flow of docs/orders.md runs.',
  tags: ['detail'],
  variables: [market()],
  head: [
    [
      place(4, 4, stat('order_confirmation')),
      place(4, 4, stat('order_oldest')),
      place(4, 4, stat('order_residual')),
      place(4, 4, stat('orders_unconfirmed')),
      place(4, 4, stat('canary_age')),
      place(4, 4, stat('reconciler_age')),
    ],
  ],
  sections: [
    {
      title: 'Where do paid orders go?',
      rows: [
        [place(12, 8, panels.sixPoints()), place(12, 8, panels.lostBetween())],
        [place(12, 8, panels.byRestaurant()), place(12, 8, panels.byPartition())],
      ],
    },
    {
      title: 'Since when, and how fast?',
      rows: [
        [place(12, 8, panels.chargedBesideConfirmed()), place(12, 8, panels.outcomes())],
        [place(8, 7, panels.oldest()), place(8, 7, panels.residual()), place(8, 7, panels.confirmationBurn())],
        [place(12, 6, panels.canary()), place(12, 6, panels.reconciler())],
      ],
    },
    {
      title: 'Why? One panel for each pair of points',
      rows: [
        [place(12, 8, panels.publisherLedger()), place(12, 8, panels.unroutable())],
        [place(12, 8, panels.members()), place(12, 8, panels.consumerLedger())],
      ],
    },
    {
      title: 'What stayed green',
      rows: [[place(8, 6, panels.oldErrors()), place(8, 6, panels.oldSaturation()), place(8, 6, panels.oldPending())]],
    },
  ],
};
