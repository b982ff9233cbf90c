/**
 * What wakes somebody because paid orders do not reach a restaurant: symptoms first, then watchers that fall silent, then causes.
 *
 * These rules watch the order flow of docs/orders.md, and are loaded only where it runs: elsewhere nobody exports what they ask for.
 */
import { BURN, CONFIRMATION, ORDERS } from '../semantic/slo.ts';
import type { Alert, Group, Recording } from './types.ts';

const BOARD = 'incident';
const WINDOWS = ['5m', '30m', '1h', '6h'] as const;

/** What an order that should be at a restaurant comes to; cancelled, refunded and rejected ones are nobody's failure. */
const UNCONFIRMED = 'outcome=~"unconfirmed|restaurant_acked_late"';
const VALID = 'outcome=~"restaurant_acked_in_time|restaurant_acked_late|unconfirmed"';

const budget = Number((1 - CONFIRMATION).toFixed(6));

/** Share of orders that were not confirmed in time ÷ what the objective allows. Each order is decided once, so both are of the same orders. */
function confirmationBurn(window: (typeof WINDOWS)[number]): Recording {
  const of = (matcher: string) => `sum by (market) (rate(order_outcome_total{${matcher}}[${window}]))`;
  return {
    record: `order:confirmation_burn:rate${window}`,
    expression: `${of(UNCONFIRMED)} / (${of(VALID)} > 0) / ${budget}`,
  };
}

function burn(speed: 'fast' | 'slow'): Alert {
  const { factor, long, short } = BURN[speed];
  const series = (window: string) => `order:confirmation_burn:rate${window} > ${factor}`;
  const cases = `sum by (market) (increase(order_outcome_total{${UNCONFIRMED}}[${short}])) >= ${ORDERS.fewestOrders}`;
  return {
    name: `OrderConfirmationBurn${speed === 'fast' ? 'Fast' : 'Slow'}`,
    expression: [series(long), series(short), cases].join(' and '),
    holds: speed === 'fast' ? '1m' : '5m',
    severity: 'page',
    owner: 'Order team',
    summary: `{{ $labels.market }}: paid orders are not confirmed; the error budget burns {{ $value | printf "%.0f" }} times too fast`,
    description: `Customers are charged and restaurants do not acknowledge within ${ORDERS.confirmSeconds} s. It has held for ${long} on the mean and still holds over ${short}.`,
    panel: [BOARD, 'Burn rate of confirmation'],
  };
}

/** Seconds since a timestamp that a watcher pushes; it is remembered for a day, so that a killed watcher does not become no watcher. */
const since = (timestamp: string, by: string) => `time() - max${by} (last_over_time(${timestamp}[1d]))`;

/** Markets in which somebody was charged three minutes ago: time enough for a watcher to have spoken for the first time. */
const CHARGED_BEFORE = 'orders_charged_total offset 3m';

const SYMPTOMS: Alert[] = [
  burn('fast'),
  burn('slow'),
  {
    name: 'OrderFlowSevered',
    // No series of acknowledgements is no acknowledgement.
    expression:
      `sum by (market) (rate(orders_charged_total[2m])) > ${ORDERS.severedChargesPerSecond}` +
      ' unless sum by (market) (rate(orders_restaurant_acked_total[2m])) > 0',
    holds: '1m',
    severity: 'page',
    owner: 'Order team',
    summary:
      '{{ $labels.market }}: {{ $value | printf "%.2f" }} orders a second are charged and no restaurant acknowledges any',
    description:
      'The flow is cut between the charge and the tablet. Stop taking orders first, then look where they go.',
    panel: [BOARD, 'Charged beside confirmed'],
  },
  {
    name: 'OrderUnconfirmedTooLong',
    expression: `max by (market) (order_oldest_unreconciled_age_seconds) > ${ORDERS.oldestSecondsRed}`,
    holds: '1m',
    severity: 'page',
    owner: 'Order team',
    summary:
      '{{ $labels.market }}: an order is paid for {{ $value | humanizeDuration }} and no restaurant has confirmed it',
    description:
      'It sees a single lost order, whatever share is lost. It ends when each such order is confirmed, refunded, cancelled or rejected.',
    panel: [BOARD, 'Oldest unconfirmed order'],
  },
];

const WATCHERS: Alert[] = [
  {
    name: 'OrderCanaryMissing',
    expression:
      `${since('canary_order_last_success_timestamp_seconds', ' by (market)')} > ${ORDERS.canarySecondsRed}` +
      ` or group by (market) (${CHARGED_BEFORE}) unless on (market) last_over_time(canary_order_last_success_timestamp_seconds[1d])`,
    severity: 'page',
    owner: 'SRE',
    summary: '{{ $labels.market }}: no synthetic order was confirmed for three minutes or longer',
    description:
      'One is placed every minute, as customers do it. Either orders do not arrive, or the canary does not run, and then nobody would see it.',
    panel: [BOARD, 'Since the last synthetic order'],
  },
  {
    name: 'OrderReconcilerSilent',
    expression:
      `${since('order_reconciler_last_success_timestamp_seconds', '')} > ${ORDERS.reconcilerSecondsRed}` +
      ` or absent_over_time(order_reconciler_last_success_timestamp_seconds[1d]) and on () group(${CHARGED_BEFORE})`,
    severity: 'page',
    owner: 'SRE',
    summary: 'nobody compares paid orders with confirmed ones',
    description:
      'The reconciler does not end its cycles, or its metrics do not arrive. Burn rates and the age of unconfirmed orders are blind until then.',
    panel: [BOARD, 'Reconciler'],
  },
  {
    name: 'OrderReconcilerBehind',
    expression: `time() - max(order_reconciler_watermark_timestamp_seconds) > ${ORDERS.watermarkSecondsRed}`,
    holds: '1m',
    severity: 'page',
    owner: 'SRE',
    summary: 'orders of the last {{ $value | humanizeDuration }} are not judged: their events are not complete',
    description:
      'The reconciler works, and what it reads stands still. While it does, no order grows older, so no age can page.',
    panel: [BOARD, 'Reconciler'],
  },
];

const counted = (counter: string, window: string, by = 'market') => `sum by (${by}) (increase(${counter}[${window}]))`;

/**
 * What a consumer has taken and neither settled nor has in work, since it started. Its counters come in one push, so the difference is
 * exact; differences of `increase` are not, since each of them is drawn out to the ends of its window.
 */
const UNACCOUNTED: Recording = {
  record: 'order:consumer_unaccounted',
  expression: ['order_consumer_fetched_total', 'order_consumer_settled_total', 'order_consumer_in_flight']
    .map((name) => `sum by (market, group, instance) (${name})`)
    .join(' - '),
};

const ROWS = counted('order_producer_rows_total', '10m');

const CAUSES: Alert[] = [
  {
    name: 'OrderConsumerLedger',
    // A restart takes it back to 0, and what was in work is delivered again: only growth is a loss.
    expression: `sum by (market, group) (delta(${UNACCOUNTED.record}[10m])) > ${ORDERS.ledgerTolerance}`,
    holds: '5m',
    severity: 'page',
    owner: 'Restaurant team',
    summary:
      '{{ $labels.group }}: about {{ $value | printf "%.0f" }} orders were taken in ten minutes and came to no end',
    description:
      'Neither stored, skipped, known as duplicates nor dead-lettered: an exit of the consumer that nobody counts.',
    panel: [BOARD, 'Ledger of the consumer'],
  },
  {
    name: 'OrderPublishGap',
    // The log's end is a gauge that only grows; transactions would make it grow by more, so only a lack counts.
    expression:
      `${ROWS} - ${counted('broker_log_end_offset', '10m')}` +
      ` > ${ORDERS.ledgerTolerance} + ${ORDERS.ledgerShare} * ${ROWS}`,
    holds: '5m',
    severity: 'ticket',
    owner: 'Order team',
    summary: '{{ $labels.market }}: about {{ $value | printf "%.0f" }} orders of ten minutes are in no partition',
    description:
      'The order service has stored them and the broker has not appended them: lost before the broker, or published to where nobody is bound.',
    panel: [BOARD, 'Ledger of the publisher'],
  },
  {
    name: 'OrderForeignReader',
    expression: 'sum by (market, group, client) (broker_group_members{client!~"restaurant-service-[0-9]+"}) > 0',
    severity: 'page',
    owner: 'Platform',
    summary: '{{ $labels.client }} reads as a member of {{ $labels.group }}',
    description: 'It is not on the list of our consumers. What it takes and acknowledges, no restaurant gets.',
    panel: [BOARD, 'Members of the group'],
  },
  {
    name: 'OrderUnroutable',
    expression: `${counted('broker_unroutable_total', '5m')} > 0`,
    severity: 'page',
    owner: 'Platform',
    summary: '{{ $labels.market }}: about {{ $value | printf "%.0f" }} orders were published to where nobody is bound',
    description: 'The broker has confirmed and dropped them. A binding or a queue is gone, or a name is wrong.',
    panel: [BOARD, 'Unroutable and dead letters'],
  },
  {
    name: 'OrderDeadLetters',
    expression:
      `max by (market, topic) (broker_dead_letters_oldest_age_seconds) > ${ORDERS.deadLetterSecondsRed}` +
      ` or ${counted('broker_dead_letters_total', '10m', 'market, topic')} > 0`,
    severity: 'page',
    owner: 'Restaurant team',
    summary: '{{ $labels.topic }}: orders are in the dead letters',
    description: 'They are kept and paid, and on no tablet. Each minute there makes a meal less likely.',
    panel: [BOARD, 'Unroutable and dead letters'],
  },
  {
    name: 'OrdersSkipped',
    expression:
      `${counted('order_consumer_settled_total{result=~"deduplicated|skipped"}', '10m')}` +
      ` > ${ORDERS.ledgerTolerance} + ${ORDERS.ledgerShare} * ${counted('order_consumer_fetched_total', '10m')}`,
    holds: '5m',
    severity: 'ticket',
    owner: 'Restaurant team',
    summary: '{{ $labels.market }}: the consumer skipped about {{ $value | printf "%.0f" }} orders in ten minutes',
    description:
      'More than redelivery explains: the filter of duplicates takes new orders for known ones, or a reason to skip is wrong.',
    panel: [BOARD, 'Ledger of the consumer'],
  },
];

export const ORDER_RULES: Group[] = [
  { name: 'orders-outcome', recordings: WINDOWS.map(confirmationBurn), alerts: SYMPTOMS },
  { name: 'orders-watchers', recordings: [], alerts: WATCHERS },
  { name: 'orders-causes', recordings: [UNACCOUNTED], alerts: CAUSES },
];
