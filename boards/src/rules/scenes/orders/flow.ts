/** The series of the order flow (docs/orders.md), healthy, or with a fault that keeps a share of the orders from a restaurant. */
import { be, clock, during, grow, scaled, seconds, type Life, type Plan } from '../plan.ts';
import type { Series } from '../types.ts';

/** The faults of the simulator. */
export const FAULTS = [
  'ack-before-store',
  'publish-to-nowhere',
  'foreign-reader',
  'lost-before-broker',
  'dedup-poisoned',
] as const;
export type Fault = (typeof FAULTS)[number];

/** The points of an order. */
export const POINTS = ['1_captured', '2_stored', '3_appended', '4_acked', '5_saved', '6_tablet_acked'] as const;

/** The first point that does not see what a fault takes. */
export const FIRST_MISSING: Record<Fault, number> = {
  'publish-to-nowhere': 3,
  'lost-before-broker': 3,
  'foreign-reader': 4,
  'ack-before-store': 5,
  'dedup-poisoned': 5,
};

/** Seconds from the charge to the tablet, and to the decision: T, and until events are stored and pushed. */
const TO_TABLET = 5;
const TO_DECISION = 130;

/** A share of the orders is lost, from a time on, for a while or for ever. */
export interface Loss {
  fault: Fault;
  share: number;
  from: string;
  until?: string;
  /** What is unconfirmed is refunded at this time. */
  refundedAt?: string;
}

/** One market. */
export interface Flow {
  market: string;
  /** Orders a second; they come evenly, unless their charges are told by `traffic`. */
  perSecond: number;
  traffic?: Plan;
  loss?: Loss;
  /** When the prober runs. */
  canary?: Life;
  /** Orders that were not on a tablet in time for a reason that is no loss. */
  outcomes?: Partial<Record<'restaurant_acked_late' | 'cancelled' | 'rejected' | 'refunded', Plan>>;
  /** Age of the oldest unconfirmed order while nothing is lost. */
  age?: Plan;
  /** Records in the dead letters. */
  deadLetters?: { count: Plan; age: Plan };
}

const later = (time: string, by: number) => clock(seconds(time) + by);

/** The same, so many seconds later. */
const delayed = (plan: Plan, by: number): Plan => [
  be(0, clock(by)),
  ...plan.map((piece) => (piece.until === undefined ? piece : { ...piece, until: later(piece.until, by) })),
];

/** Growth at one rate, and at another one while a loss lasts. */
function changed(usual: number, meanwhile: number, { from, until }: Loss, delay = 0): Plan {
  const after = until === undefined ? [] : [grow(usual)];
  return [
    grow(usual, later(from, delay)),
    grow(meanwhile, ...(until === undefined ? [] : [later(until, delay)])),
    ...after,
  ];
}

/** What a point of the flow has seen, so many seconds after the charge. */
function seen({ perSecond, traffic, loss }: Flow, point: number, delay = 0): Plan {
  if (loss !== undefined && FIRST_MISSING[loss.fault] <= point) {
    return changed(perSecond, perSecond * (1 - loss.share), loss, delay);
  }
  return delay === 0 ? (traffic ?? [grow(perSecond)]) : delayed(traffic ?? [grow(perSecond)], delay);
}

/** What a fault takes. */
const taken = ({ perSecond, loss }: Flow, fault?: Fault, delay = 0): Plan =>
  loss === undefined || (fault !== undefined && loss.fault !== fault)
    ? [be(0)]
    : changed(0, perSecond * loss.share, loss, delay);

/** The age of the first order that is lost, until it is refunded. */
function ageOf({ loss, perSecond, age = [be(2)] }: Flow): Plan {
  if (loss === undefined) {
    return age;
  }
  // On the mean the first of them comes after so many seconds.
  const first = later(loss.from, 1 / (perSecond * loss.share));
  return loss.refundedAt === undefined ? [be(2, first), grow(1)] : [be(2, first), grow(1, loss.refundedAt), be(2)];
}

/**
 * When the last synthetic order was confirmed; in a scene the clock begins at 0. It is taken to be confirmed just before a total loss,
 * and to be spared by a smaller one: whatever else it does, it speaks earlier.
 */
function proven({ loss }: Flow): Plan {
  if (loss?.share !== 1) {
    return [be(0, '0s'), grow(1)];
  }
  const stands = be(seconds(loss.from), ...(loss.until === undefined ? [] : [loss.until]));
  const again = loss.until === undefined ? [] : [be(seconds(loss.until), loss.until), grow(1)];
  return [be(0, '0s'), grow(1, loss.from), stands, ...again];
}

type Labels = Record<string, string>;

const series =
  (job: string, common: Labels) =>
  (name: string, plan: Plan, labels: Labels = {}): Series => ({
    name,
    labels: { job, instance: `${job}-0`, ...common, ...labels },
    plan,
  });

/** A series for each of two values of a label, which share the plan. */
const halves =
  (of: ReturnType<typeof series>, label: string, values: [string, string]) =>
  (name: string, plan: Plan, labels: Labels = {}) =>
    values.map((value) => of(name, scaled(plan, 0.5), { [label]: value, ...labels }));

/** The services of a market. */
function services(flow: Flow): Series[] {
  const { market, loss } = flow;
  const of = (job: string) => series(job, { market });
  const restaurants: [string, string] = [`${market}-r1`, `${market}-r2`];
  const by = (job: string) => halves(of(job), 'restaurant', restaurants);
  const group = { group: `restaurant-service.${market}` };
  const topic = { topic: `orders.${market}` };
  const letters = { topic: `orders.${market}.dlq` };
  const [broker, consumer] = [of('order-broker'), of('restaurant-service')];
  const stranger = { ...group, client: 'orders-debug' };
  const ours = { ...group, client: 'restaurant-service-1' };
  return [
    ...by('payment-provider')('orders_charged_total', seen(flow, 1)),
    ...by('restaurant-service')('orders_restaurant_acked_total', seen(flow, 6, TO_TABLET)),
    of('order-service')('order_producer_rows_total', seen(flow, 2)),
    ...halves(broker, 'partition', ['0', '1'])('broker_log_end_offset', seen(flow, 3), topic),
    broker('broker_unroutable_total', taken(flow, 'publish-to-nowhere')),
    broker('broker_group_members', [be(1)], ours),
    ...(loss?.fault === 'foreign-reader'
      ? [
          broker(
            'broker_group_members',
            [be(0, loss.from), be(1, ...(loss.until === undefined ? [] : [loss.until])), be(0)],
            stranger,
          ),
        ]
      : []),
    broker('broker_dead_letters_total', flow.deadLetters?.count ?? [be(0)], letters),
    broker('broker_dead_letters_oldest_age_seconds', flow.deadLetters?.age ?? [be(0)], letters),
    consumer('order_consumer_fetched_total', seen(flow, 4), group),
    consumer('order_consumer_settled_total', seen(flow, 5), { ...group, result: 'stored' }),
    consumer('order_consumer_settled_total', taken(flow, 'dedup-poisoned'), { ...group, result: 'deduplicated' }),
    consumer('order_consumer_in_flight', [be(1)], group),
    of('order-canary')('canary_order_last_success_timestamp_seconds', during(flow.canary ?? {}, proven(flow))),
  ];
}

const RECONCILER = { job: 'hub-consumer', instance: 'reconcile' };

/** What the reconciler says of a market. */
function judged(flow: Flow, life: Life): Series[] {
  const { market, outcomes = {} } = flow;
  const of = (name: string, plan: Plan, labels: Labels = {}): Series => ({
    name,
    labels: { ...RECONCILER, market, ...labels },
    plan: during(life, plan),
  });
  const decided = (outcome: string, plan: Plan) =>
    halves(of, 'restaurant', [`${market}-r1`, `${market}-r2`])('order_outcome_total', plan, { outcome });
  return [
    ...decided('restaurant_acked_in_time', seen(flow, 6, TO_DECISION)),
    ...decided('unconfirmed', taken(flow, undefined, TO_DECISION)),
    ...(['restaurant_acked_late', 'cancelled', 'rejected', 'refunded'] as const).flatMap((outcome) =>
      decided(outcome, outcomes[outcome] ?? [be(0)]),
    ),
    of('order_oldest_unreconciled_age_seconds', ageOf(flow)),
  ];
}

/** The six points of a market, as the reconciler counts them. */
export const points = (flow: Flow): Series[] =>
  POINTS.flatMap((point, index) =>
    halves(series('hub-consumer', { market: flow.market, restaurant: `${flow.market}-r1` }), 'partition', ['0', '1'])(
      'order_points_total',
      seen(flow, index + 1, TO_DECISION),
      { point },
    ),
  );

/** Markets, with one reconciler for all of them. The watermark follows the time, a few seconds behind. */
export function flows(markets: Flow[], life: Life = {}, watermark: Plan = [be(0, '5s'), grow(1)]): Series[] {
  const own = (name: string, plan: Plan): Series => ({ name, labels: RECONCILER, plan: during(life, plan) });
  return [
    ...markets.flatMap((market) => [...services(market), ...judged(market, life)]),
    own('order_reconciler_last_success_timestamp_seconds', [be(0, '0s'), grow(1)]),
    own('order_reconciler_watermark_timestamp_seconds', watermark),
  ];
}
