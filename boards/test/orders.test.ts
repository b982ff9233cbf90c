/** The rules of the order flow: every scene pages whom it names, when it says, and nobody else; and a broken rule is seen. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { DETECTIONS } from '../src/rules/scenes/orders/losses.ts';
import { ORDER_SCENES } from '../src/rules/scenes/orders/index.ts';
import { seconds } from '../src/rules/scenes/plan.ts';
import { seeMutation, type Mutation } from './mutate.ts';
import { OF_ORDERS, play, ruleFiles, rulesOf } from './promtool.ts';

const RULES = ruleFiles(OF_ORDERS);
const ALERTS = rulesOf(RULES).flatMap(({ alert, labels }) =>
  alert === undefined ? [] : [{ name: alert, severity: labels?.['severity'] ?? '' }],
);
const PAGES = new Set(ALERTS.filter(({ severity }) => severity === 'page').map(({ name }) => name));

describe('scenes of the order flow', { concurrency: 2 }, () => {
  for (const scene of ORDER_SCENES) {
    test(scene.name, async () => {
      const outcome = await play(scene, RULES);
      assert.ok(outcome.passed, outcome.output);
    });
  }
});

describe('the first page comes in time', () => {
  for (const { fault, share, first } of DETECTIONS) {
    test(`${fault}, ${share * 100} % lost`, () => {
      const limit = share === 1 ? 240 : 360;
      // An alert on a cause may be faster; the promise is made for those on the outcome, which see causes that nobody has thought of.
      const onOutcome = Object.entries(first).filter(([name]) => OUTCOME.has(name));
      assert.ok(onOutcome.every(([name]) => PAGES.has(name)));
      assert.ok(Math.min(...onOutcome.map(([, after]) => seconds(after))) < limit);
    });
  }
});

/** Alerts on what customers feel. */
const OUTCOME = new Set([
  'OrderFlowSevered',
  'OrderUnconfirmedTooLong',
  'OrderConfirmationBurnFast',
  'OrderConfirmationBurnSlow',
  'OrderCanaryMissing',
]);

test('every alert of the order flow fires in a scene, and is read in one', () => {
  const fired = new Set(
    ORDER_SCENES.flatMap(({ moments, first = [] }) => [
      ...moments.flatMap(({ firing }) => Object.keys(firing)),
      ...first.flatMap(({ alerts }) => Object.keys(alerts)),
    ]),
  );
  const said = new Set(ORDER_SCENES.flatMap(({ says = [] }) => says.map(({ alert }) => alert)));
  for (const { name } of ALERTS) {
    assert.ok(fired.has(name), `${name} never fires`);
    assert.ok(said.has(name), `nobody reads ${name}`);
  }
});

const MENDED = 'total losses of ten minutes are mended and refunded';
const NIGHT = 'a healthy night of 24 hours with little traffic';
const PROBERS = 'the prober of one market is killed, that of another ends in order, and a third never had one';
const POISONED = 'a poisoned filter of duplicates is emptied';

const MUTATIONS: Mutation[] = [
  {
    what: 'every outcome is a failure',
    rule: 'order:confirmation_burn:rate1h',
    change: { expression: ['outcome=~"unconfirmed|restaurant_acked_late"', 'outcome!=""'] },
    scene: MENDED,
    seen: '1h9m',
  },
  {
    what: 'one late order at night is enough',
    rule: 'OrderConfirmationBurnFast',
    change: { expression: ['>= 3', '>= 1'] },
    scene: NIGHT,
    seen: '4h15m',
  },
  {
    what: 'ten times the burn',
    rule: 'OrderConfirmationBurnSlow',
    change: { expression: ['> 6', '> 600'] },
    scene: MENDED,
    seen: '1h9m',
  },
  {
    what: 'rows are taken for confirmations',
    rule: 'OrderFlowSevered',
    change: { expression: ['orders_restaurant_acked_total', 'order_producer_rows_total'] },
    scene: MENDED,
    seen: '1h9m',
  },
  {
    what: 'a single confirmation that is late',
    rule: 'OrderUnconfirmedTooLong',
    change: { for: undefined },
    scene: NIGHT,
    seen: '14h5m',
  },
  {
    what: 'an hour',
    rule: 'OrderUnconfirmedTooLong',
    change: { expression: ['> 180', '> 3600'] },
    scene: MENDED,
    seen: '1h9m',
  },
  {
    what: 'a market without a prober is a market without need',
    rule: 'OrderCanaryMissing',
    change: { expression: ['group by (market) (orders_charged_total offset 3m)', 'vector(0) > 1'] },
    scene: PROBERS,
    seen: '3m',
  },
  {
    what: 'half an hour without a synthetic order',
    rule: 'OrderCanaryMissing',
    change: { expression: ['> 180', '> 1800'] },
    scene: PROBERS,
    seen: '24m',
  },
  {
    what: 'a reconciler is demanded where nobody sells anything',
    rule: 'OrderReconcilerSilent',
    change: { expression: [' and on () group(orders_charged_total offset 3m)', ''] },
    scene: 'the order flow does not run',
    seen: '30m',
  },
  {
    what: 'a killed reconciler has time',
    rule: 'OrderReconcilerSilent',
    change: { expression: ['> 120', '> 1200'] },
    scene: 'the reconciler is killed',
    seen: '30m',
  },
  {
    what: 'a cycle that ends is taken for one that sees',
    rule: 'OrderReconcilerBehind',
    change: { expression: ['watermark', 'last_success'] },
    scene: 'what the reconciler reads stands still',
    seen: '24m',
  },
  {
    what: 'a duplicate is no end',
    rule: 'order:consumer_unaccounted',
    change: { expression: ['(order_consumer_settled_total)', '(order_consumer_settled_total{result="stored"})'] },
    scene: POISONED,
    seen: '1h9m',
  },
  {
    what: 'what is put aside wakes nobody',
    rule: 'OrderConsumerLedger',
    change: { expression: ['> 5', '> 50000'] },
    scene: MENDED,
    seen: '1h9m',
  },
  {
    what: 'rows beside rows',
    rule: 'OrderPublishGap',
    change: { expression: ['broker_log_end_offset', 'order_producer_rows_total'] },
    scene: MENDED,
    seen: '1h9m',
  },
  {
    what: 'our own consumers are strangers',
    rule: 'OrderForeignReader',
    change: { expression: ['-[0-9]+', ''] },
    scene: 'the flow is started, its prober and its reconciler a minute later',
    seen: '20m',
  },
  {
    what: 'a binding that never was',
    rule: 'OrderUnroutable',
    change: { expression: ['> 0', '> 100000'] },
    scene: MENDED,
    seen: '1h9m',
  },
  {
    what: 'an old letter is forgotten',
    rule: 'OrderDeadLetters',
    change: { expression: ['> 300', '> 30000'] },
    scene: 'orders go to the dead letters',
    seen: '32m',
  },
  {
    what: 'a duplicate is never wrong',
    rule: 'OrdersSkipped',
    change: { expression: ['deduplicated|skipped', 'skipped'] },
    scene: POISONED,
    seen: '1h9m',
  },
];

describe('mutations of the order flow', { concurrency: 2 }, () => {
  for (const mutation of MUTATIONS) {
    test(`${mutation.rule}: ${mutation.what}`, () => seeMutation(mutation, ORDER_SCENES, ruleFiles(OF_ORDERS)));
  }

  test('every alert has one', () => {
    const broken = new Set(MUTATIONS.map(({ rule }) => rule));
    assert.deepEqual(
      ALERTS.filter(({ name }) => !broken.has(name)),
      [],
    );
  });
});
