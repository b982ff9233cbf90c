/** How series look while something that carries them stands still. The trouble of a scene begins at {@link ONSET}. */
import { be, clock, end, grow, seconds, type Plan } from './plan.ts';
import type { Series } from './types.ts';
import { hubs, menu, type Deriver, type Hub, type PartitionPlans, type Signal } from './world.ts';

export const ONSET = '40m';

/** A time after the onset. */
export const after = (duration: string) => clock(seconds(ONSET) + seconds(duration));

/** A counter that stands still from the onset on, and grows again from `until` on. */
export const still = (perSecond: number, until?: string): Plan =>
  until === undefined ? [grow(perSecond, ONSET), grow(0)] : [grow(perSecond, ONSET), grow(0, until), grow(perSecond)];

/** The same, and within a minute it makes up for what it missed. */
export const late = (perSecond: number, until: string): Plan => {
  const missed = perSecond * (seconds(until) - seconds(ONSET));
  const caughtUp = clock(seconds(until) + 60);
  return [grow(perSecond, ONSET), grow(0, until), grow(perSecond + missed / 60, caughtUp), grow(perSecond)];
};

/** The same for each signal. */
export const everySignal = (plan: Plan): Record<Signal, Plan> => ({ logs: plan, traces: plan, metrics: plan });

/** What hubs derive while no log line is stored. */
export function menuStands(until?: string, derivers?: Deriver[]): Series[] {
  const plan = (perSecond: number) => (until === undefined ? still(perSecond) : late(perSecond, until));
  return menu({ lists: plan(5), items: plan(8), unknownItems: plan(0.1), lines: plan(14) }, derivers);
}

/** Hubs to which no record comes. */
export const idleHubs = (changes: Partial<Hub> = {}): Series[] => hubs({ stored: everySignal(still(10)), ...changes });

/** What is told of a partition of which nothing is resolved from the onset on. */
export function stands(until?: string): Partial<PartitionPlans> {
  const then = (value: number): Plan => (until === undefined ? [] : [be(value)]);
  const lasting = until === undefined ? [] : ([until] as const);
  return {
    records: [be(1, ONSET), grow(1, ...lasting), ...then(1)],
    seconds: [be(0.5, ONSET), grow(1, ...lasting), ...then(0.5)],
    drain: [be(0, ONSET), end(...lasting), ...then(0)],
    headRoom: [be(3_000_000, ONSET), grow(-1, ...lasting), ...then(3_000_000)],
    stuck: [be(0, after('30s')), be(1, ...lasting), ...then(0)],
  };
}
