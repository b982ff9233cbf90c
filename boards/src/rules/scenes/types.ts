/** A scene: what happens, told in series, and which alerts fire at which moments of it. */
import type { Plan } from './plan.ts';

export interface Series {
  name: string;
  labels: Record<string, string>;
  plan: Plan;
}

/** Alerts by name, with the number of their series. The watchdog always fires and is not named. */
export type Alerts = Record<string, number>;

/** What is the case at one moment: exactly this fires. */
export interface Moment {
  at: string;
  firing: Alerts;
  /** Exactly this is pending; left out where it does not matter. */
  pending?: Alerts;
}

/** What an alert says, with the labels that tell it from others of its name. */
export interface Saying {
  at: string;
  alert: string;
  labels: Record<string, string>;
  summary: string;
}

/** Alerts by name, with the time from `since` to the evaluation at which they fired first. */
export interface FirstTimes {
  since: string;
  market?: string;
  alerts: Record<string, string>;
}

export interface Scene {
  name: string;
  description: string;
  /** How long it lasts. */
  length: string;
  /** From one sample to the next, and from one evaluation to the next: as in the demo, as in production, or for scenes of days. */
  interval: '10s' | '1m' | '5m';
  series: Series[];
  /** In ascending order. What fires at none of them fires never. */
  moments: Moment[];
  says?: Saying[];
  /** When each alert that fires does so for the first time: exactly these, of a market where one is named. */
  first?: FirstTimes[];
  /** What fires when rules are evaluated once a minute and programs still push every ten seconds; left out, that is not tried. */
  everyMinute?: Moment[];
}
