/** Panels for who asks where paid orders go. There is data only where the order flow runs (docs/orders.md). */
import * as common from '@grafana/grafana-foundation-sdk/common';
import { ThresholdsConfigBuilder, ThresholdsMode } from '@grafana/grafana-foundation-sdk/dashboard';

import { AMBER, BAD, GOOD, NEUTRAL, fixed } from '../../build/look.ts';
import { bars, barGauge, lines, type Meaning } from '../../build/panels.ts';
import { MARKET } from '../../build/prom.ts';
import { MIMIR, instant, range } from '../../build/targets.ts';
import { BURN, ORDERS } from '../../semantic/slo.ts';

const RECONCILER = '`hub-consumer reconcile`';
const UNCONFIRMED = 'outcome=~"unconfirmed|restaurant_acked_late"';

/** The six points of an order, in the order in which it comes to them. */
export const POINTS = {
  '1_captured': '1 charged',
  '2_stored': '2 order row',
  '3_appended': '3 in the broker',
  '4_acked': '4 taken by our consumer',
  '5_saved': '5 restaurant row',
  '6_tablet_acked': '6 on the tablet',
} as const;

const rate = (counter: string, by: string, matchers = '') =>
  `sum by (${by}) (rate(${counter}{${MARKET}${matchers}}[$__rate_interval]))`;

/** Orders of the range that a point has seen. */
const seen = (point: string) => `sum(increase(order_points_total{${MARKET},point="${point}"}[$__range]))`;

/** A line from which on it is amber, and one from which on it is bad. */
function limits(amber: number, red: number) {
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([
    { value: null, color: 'transparent' },
    { value: amber, color: AMBER },
    { value: red, color: BAD },
  ]);
}

const asLine = () => new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Line);

/** One bar a series. */
const eachSeries = () => new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).fields('').values(false);

/** The count that finds the place, before anybody has a theory. */
export function sixPoints() {
  const meaning: Meaning = {
    title: 'Six points',
    definition:
      'Orders of the range that each point has seen, of those that should be at a restaurant. The first bar that is shorter is where they go',
    source: `\`order_points_total\`, of the same orders at each point, ${RECONCILER}`,
    caveat: `orders younger than ${ORDERS.confirmSeconds} s are in no bar; synthetic orders are not counted`,
    ifRed: '*Lost between two points* names the pair; INCIDENT.md says which theories part there',
  };
  const names = Object.entries(POINTS);
  const targets = names.map(([point, name], index) => instant(seen(point), name, String.fromCharCode(65 + index)));
  return barGauge(meaning, instant(seen('1_captured'), '', 'A'), MIMIR)
    .targets(targets)
    .reduceOptions(eachSeries())
    .unit('locale');
}

/** The same as differences of neighbours. */
export function lostBetween() {
  const meaning: Meaning = {
    title: 'Lost between two points',
    definition: 'Of the same orders, those that one point has seen and the next has not',
    source: `\`order_points_total\`, ${RECONCILER}`,
    caveat: 'an order that arrives after it was judged stays in this number',
    ifRed:
      '2 → 3: OrderPublishGap, OrderUnroutable. 3 → 4: OrderForeignReader. 4 → 5: OrderConsumerLedger, OrdersSkipped',
  };
  const names = Object.entries(POINTS);
  const pairs = names.slice(1).map(([point, name], index) => {
    const [before = '', nameBefore = ''] = names[index] ?? [];
    return instant(`${seen(before)} - ${seen(point)}`, `${nameBefore} → ${name}`, String.fromCharCode(65 + index));
  });
  return barGauge(meaning, instant(seen('1_captured'), '', 'A'), MIMIR)
    .targets(pairs)
    .reduceOptions(eachSeries())
    .unit('locale');
}

/** What comes in beside what comes out, by the services themselves. */
export function chargedBesideConfirmed() {
  const meaning: Meaning = {
    title: 'Charged beside confirmed',
    definition: 'Orders a second that the payment provider captures, and that tablets acknowledge',
    source: '`orders_charged_total`, `orders_restaurant_acked_total`, of the services themselves',
    caveat: 'rates of different moments: confirmations follow by seconds, and part at ramps',
    ifRed: 'runbook, OrderFlowSevered: stop taking orders first',
  };
  return lines(
    meaning,
    MIMIR,
    range(rate('orders_charged_total', 'market'), '{{market}} charged', 'A'),
    range(rate('orders_restaurant_acked_total', 'market'), '{{market}} confirmed', 'B'),
  ).unit('reqps');
}

/** The invariant that sees a single order. */
export function oldest() {
  const meaning: Meaning = {
    title: 'Oldest unconfirmed order',
    definition: 'Age of the oldest paid order that is neither confirmed, refunded, cancelled nor rejected, by market',
    source: `\`order_oldest_unreconciled_age_seconds\`, ${RECONCILER}`,
    caveat: 'it stands still while the pipeline does; *Reconciler* shows that',
    ifRed: 'runbook, OrderUnconfirmedTooLong: find the order, then look at *Six points*',
  };
  return lines(
    meaning,
    MIMIR,
    range(`max by (market) (order_oldest_unreconciled_age_seconds{${MARKET}})`, '{{market}}'),
  )
    .unit('s')
    .thresholds(limits(ORDERS.confirmSeconds, ORDERS.oldestSecondsRed))
    .thresholdsStyle(asLine());
}

/** What was paid and came to no end. */
export function residual() {
  const meaning: Meaning = {
    title: 'Residual over time',
    definition: 'Charged − (confirmed + refunded + cancelled + rejected + younger than T + not due), by market',
    source: `\`order_conservation_residual\`, ${RECONCILER}`,
    caveat: 'it falls with refunds; below 0 somebody was served who was not charged',
    ifRed: 'where it leaves 0 is the true start of an incident',
  };
  return lines(meaning, MIMIR, range(`max by (market) (order_conservation_residual{${MARKET}})`, '{{market}}')).unit(
    'short',
  );
}

/** How fast the budget is spent. */
export function confirmationBurn() {
  const meaning: Meaning = {
    title: 'Burn rate of confirmation',
    definition: 'Share of orders that were not confirmed in time ÷ the share that the objective allows',
    source: 'the recorded series that the alerts use, of `order_outcome_total`',
    caveat: 'an order is judged two minutes after its capture; a short loss needs minutes to show over an hour',
    ifRed: `above ${BURN.fast.factor} the budget of 30 days is gone in two days: runbook, OrderConfirmationBurnFast`,
  };
  const of = (window: string) => `max by (market) (order:confirmation_burn:rate${window}{${MARKET}})`;
  return lines(
    meaning,
    MIMIR,
    range(of('5m'), '{{market}} 5 min', 'A'),
    range(of('1h'), '{{market}} 1 h', 'B'),
    range(of('6h'), '{{market}} 6 h', 'C'),
  )
    .unit('none')
    .decimals(1)
    .thresholds(limits(BURN.slow.factor, BURN.fast.factor))
    .thresholdsStyle(asLine());
}

/** What became of paid orders. */
export function outcomes() {
  const meaning: Meaning = {
    title: 'Outcomes',
    definition: 'Paid orders by what became of them, each once',
    source: `\`order_outcome_total\`, ${RECONCILER}`,
    caveat: 'at the time of the decision, two minutes after the capture',
    ifRed: 'unconfirmed: paid and on no tablet; late: on the tablet after T',
  };
  return bars(meaning, MIMIR, range(rate('order_outcome_total', 'outcome'), '{{outcome}}'))
    .unit('reqps')
    .overrideByName('unconfirmed', fixed(BAD))
    .overrideByName('restaurant_acked_late', fixed(AMBER))
    .overrideByName('restaurant_acked_in_time', fixed(GOOD));
}

/** Where the loss cuts: a total loss, a fraction, one restaurant, one partition. */
function unconfirmedBy(title: string, by: string, expression: string, ifRed: string) {
  const meaning: Meaning = {
    title,
    definition: `Share of the range's orders that came to no tablet, by ${by}; the ten worst`,
    source: `\`order_outcome_total\` and \`order_points_total\`, ${RECONCILER}`,
    caveat: 'of few orders a share says little: look at *Outcomes* for how many',
    ifRed,
  };
  return barGauge(meaning, instant(expression, `{{market}} {{${by}}}`), MIMIR)
    .reduceOptions(eachSeries())
    .unit('percentunit')
    .decimals(1)
    .max(1);
}

export function byRestaurant() {
  const of = (matcher: string) =>
    `sum by (market, restaurant) (increase(order_outcome_total{${MARKET},${matcher}}[$__range]))`;
  const all = of('outcome=~"restaurant_acked_in_time|restaurant_acked_late|unconfirmed"');
  return unconfirmedBy(
    'Unconfirmed by restaurant',
    'restaurant',
    `topk(10, ${of(UNCONFIRMED)} / (${all} > 0))`,
    'one restaurant alone points to its data or tablet, all alike to what they share',
  );
}

export function byPartition() {
  const of = (point: string) =>
    `sum by (market, partition) (increase(order_points_total{${MARKET},point="${point}"}[$__range]))`;
  return unconfirmedBy(
    'Lost by partition',
    'partition',
    `topk(10, 1 - ${of('6_tablet_acked')} / (${of('1_captured')} > 0))`,
    'some partitions alone point to one consumer or a second reader, all alike to what they share',
  );
}

/** The prober's own view. */
export function canary() {
  const meaning: Meaning = {
    title: 'Since the last synthetic order',
    definition: 'Time since a synthetic order was confirmed, by market',
    source: '`canary_order_last_success_timestamp_seconds`, a prober outside of the flow',
    caveat: 'one a minute: a saw between 0 and 60 s is health',
    ifRed: 'runbook, OrderCanaryMissing: nobody can order, or the prober is gone',
  };
  return lines(
    meaning,
    MIMIR,
    range(`time() - max by (market) (canary_order_last_success_timestamp_seconds{${MARKET}})`, '{{market}}'),
  )
    .unit('s')
    .thresholds(limits(ORDERS.confirmSeconds, ORDERS.canarySecondsRed))
    .thresholdsStyle(asLine());
}

/** Whether those who watch do. */
export function reconciler() {
  const meaning: Meaning = {
    title: 'Reconciler',
    definition: 'Time since the last cycle that ended well, and since up to which events are complete',
    source: `\`order_reconciler_last_success_timestamp_seconds\`, \`order_reconciler_watermark_timestamp_seconds\`, ${RECONCILER}`,
    caveat: 'a gap is a reconciler that says nothing',
    ifRed: 'runbook, OrderReconcilerSilent and OrderReconcilerBehind: the numbers above are as old',
  };
  return lines(
    meaning,
    MIMIR,
    range('time() - max(order_reconciler_last_success_timestamp_seconds)', 'last cycle', 'A'),
    range('time() - max(order_reconciler_watermark_timestamp_seconds)', 'complete until', 'B'),
  )
    .unit('s')
    .thresholds(limits(ORDERS.reconcilerSecondsRed, ORDERS.watermarkSecondsRed))
    .thresholdsStyle(asLine());
}

/** Theories B and 4: rows, confirmed, in the log. */
export function publisherLedger() {
  const meaning: Meaning = {
    title: 'Ledger of the publisher',
    definition: 'Records a second: rows that ask to be published, confirmed by the broker, appended to a log',
    source: '`order_producer_rows_total`, `order_producer_confirmed_total`, `broker_log_end_offset`',
    caveat: 'synthetic orders are among them, and transactions would add to the log',
    ifRed: 'rows above confirmed: lost before the broker. Confirmed above appended: published to nowhere',
  };
  return lines(
    meaning,
    MIMIR,
    range(rate('order_producer_rows_total', 'market'), '{{market}} rows', 'A'),
    range(rate('order_producer_confirmed_total', 'market'), '{{market}} confirmed', 'B'),
    range(rate('broker_log_end_offset', 'market'), '{{market}} appended', 'C'),
  ).unit('reqps');
}

/** Theories A and 5: what was taken, and how it ended. */
export function consumerLedger() {
  const meaning: Meaning = {
    title: 'Ledger of the consumer',
    definition: 'Records a second that our consumer takes, and how they end',
    source: '`order_consumer_fetched_total`, `order_consumer_settled_total`',
    caveat: 'what is in work is in neither for a moment',
    ifRed:
      'taken above the sum of the ends: an exit that nobody counts. Duplicates rise: the filter takes new orders for known ones',
  };
  return lines(
    meaning,
    MIMIR,
    range(rate('order_consumer_fetched_total', 'market'), '{{market}} taken', 'A'),
    range(rate('order_consumer_settled_total', 'market, result'), '{{market}} {{result}}', 'B'),
  ).unit('reqps');
}

/** Theory 3: who reads. */
export function members() {
  const meaning: Meaning = {
    title: 'Members of the group',
    definition: 'Records a second that each client of the group takes and acknowledges, and whether it is a member',
    source: '`broker_delivered_total`, `broker_group_members`, of the broker',
    caveat: 'a client that has left stays in the legend with 0',
    ifRed: 'a client that is not ours: runbook, OrderForeignReader',
  };
  return lines(
    meaning,
    MIMIR,
    range(rate('broker_delivered_total', 'market, client'), '{{market}} {{client}} takes', 'A'),
    range(`max by (market, client) (broker_group_members{${MARKET}})`, '{{market}} {{client}} is a member', 'B'),
  ).unit('short');
}

/** Theories B and 6: what the broker put aside or dropped. */
export function unroutable() {
  const meaning: Meaning = {
    title: 'Unroutable and dead letters',
    definition:
      'Records without a binding, and records in the dead letters, over the interval; age of the oldest letter',
    source: '`broker_unroutable_total`, `broker_dead_letters_total`, `broker_dead_letters_oldest_age_seconds`',
    caveat: 'the broker confirms what it cannot route: the publisher sees success',
    ifRed: 'runbook, OrderUnroutable and OrderDeadLetters',
  };
  const count = (counter: string) => `sum by (market) (increase(${counter}{${MARKET}}[$__rate_interval]))`;
  return lines(
    meaning,
    MIMIR,
    range(count('broker_unroutable_total'), '{{market}} unroutable', 'A'),
    range(count('broker_dead_letters_total'), '{{market}} dead letters', 'B'),
    range(`max by (market) (broker_dead_letters_oldest_age_seconds{${MARKET}})`, '{{market}} oldest letter, s', 'C'),
  ).unit('short');
}

/** What the old dashboards looked at, so that nobody has to believe that they were green. */
export function oldErrors() {
  const meaning: Meaning = {
    title: 'What stayed green: answers',
    definition: 'Share of answers to orders with 5xx',
    source: '`gateway_requests_total`',
    caveat: 'a lost order is a 200: it is in the denominator as a success',
    ifRed: 'then it is another incident, one that old dashboards see',
  };
  const all = rate('gateway_requests_total', 'market');
  const bad = rate('gateway_requests_total', 'market', ',status_code=~"5.."');
  return lines(meaning, MIMIR, range(`(${bad} or 0 * ${all}) / (${all} > 0)`, '{{market}}'))
    .unit('percentunit')
    .max(1);
}

export function oldSaturation() {
  const meaning: Meaning = {
    title: 'What stayed green: CPU',
    definition: 'CPU of each service, as a share of what it may have',
    source: '`service_cpu_utilization_ratio`',
    caveat: 'simulated, and the same in every fault: dropping an order costs less than delivering it',
    ifRed: 'saturation is another incident',
  };
  return lines(meaning, MIMIR, range('max by (job) (service_cpu_utilization_ratio)', '{{job}}'))
    .unit('percentunit')
    .max(1);
}

export function oldPending() {
  const meaning: Meaning = {
    title: 'What stayed green: pending',
    definition: 'Messages in the broker that no member has acknowledged',
    source: '`broker_pending_messages`',
    caveat: '0 is the picture of all done, never came, thrown away, and taken by somebody else',
    ifRed: 'a backlog is another incident, and the harmless one: nothing in it is lost',
  };
  return lines(meaning, MIMIR, range(`sum by (market) (broker_pending_messages{${MARKET}})`, '{{market}}'))
    .unit('short')
    .overrideByRegexp('/.*/', fixed(NEUTRAL));
}
