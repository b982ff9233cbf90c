/**
 * What every number has to be, calculated from what was printed and from the menu, without a store.
 *
 * It follows the definitions of `docs/metrics.md` in words and shares no code with the queries: requests are counted one by
 * one, and money is added up in cents.
 */
import type { Facts, Item, Service } from './stores.ts';

const LIST = '/api/menu';
const ITEM = '/api/menu/{id}';
const MINUTE = 60_000;
/** Objective of answered lists, and the least number of them that says something of a minute. */
const AVAILABILITY = 0.999;
const SMALLEST_MINUTE = 20;
/** Bounds of the histogram of durations, in seconds, as `hub-consumer/derive/menu.yaml` has them. */
const BOUNDS = [
  0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
  5, 10,
];

/** A line, as far as numbers are made of it. */
interface Line {
  service: string;
  isObject: boolean;
  /** HTTP status; 0 for what is no request. */
  status: number;
  /** Whether the status is the number 0, as of a start. */
  isLifecycle: boolean;
  route: string;
  /** In milliseconds since the epoch; a line that says no time has none. */
  at: number | undefined;
  /** Start of its minute, likewise. */
  minute: number | undefined;
  /** Milliseconds; `undefined` when the line says no number. */
  took: number | undefined;
  id: string | undefined;
  error: string;
  message: string;
  trace: string | undefined;
}

/** What is chosen on a board. */
export interface Chosen {
  services: string[];
  /** T of Apdex in seconds. */
  apdexT: number;
  /** Orders per 100 item views. */
  orderRate: number;
}

/** By metric, its value; `undefined` where there is nothing to divide by. */
export type Numbers = Record<string, number | undefined>;

/** Views of an item with what the menu says of it. */
interface View {
  id: string;
  item: Item | undefined;
}

/** Every line of the chosen services. */
export function linesOf(facts: Facts, services: string[]): Line[] {
  return facts.services.filter(({ name }) => services.includes(name)).flatMap((service) => readLines(service));
}

function readLines({ name, lines }: Service): Line[] {
  return lines.map((text) => {
    const parsed = parse(text);
    const status = parsed?.['status_code'];
    const isStatus = typeof status === 'number' && Number.isInteger(status) && status > 0 && status < 65_536;
    const path = parsed?.['path'];
    const at = Date.parse(String(parsed?.['timestamp']));
    const took = parsed?.['duration_ms'];
    return {
      service: name,
      isObject: parsed !== undefined,
      status: isStatus ? status : 0,
      isLifecycle: status === 0,
      route: routeOf(typeof path === 'string' ? path : ''),
      at: Number.isNaN(at) ? undefined : at,
      minute: Number.isNaN(at) ? undefined : Math.floor(at / MINUTE) * MINUTE,
      took: typeof took === 'number' ? took : undefined,
      id: text_(parsed?.['menu_item_id']),
      error: text_(parsed?.['error']) ?? '',
      message: text_(parsed?.['message']) ?? '',
      trace: text_(parsed?.['trace_id']),
    };
  });
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

const text_ = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

function routeOf(path: string): string {
  if (path === LIST || path === '/health') {
    return path;
  }
  return path.startsWith(`${LIST}/`) ? ITEM : 'other';
}

const isGood = ({ status }: Line) => status >= 200 && status <= 299;
const isFailure = ({ status }: Line) => status >= 500;

/** Requests of the scene's time on the routes of menu and items. */
export function requestsOf(facts: Facts, services: string[]): Line[] {
  return linesOf(facts, services).filter(({ status, route }) => status > 0 && (route === LIST || route === ITEM));
}

/** Views of items, each with the menu's item. */
export function viewsOf(facts: Facts, services: string[]): View[] {
  return requestsOf(facts, services)
    .filter(({ route, status }) => route === ITEM && status === 200)
    .map(({ id = '' }) => ({ id, item: facts.menu.menu_items.find((item) => item.id === id) }));
}

/** Every metric that can be calculated. Of the pipeline's own it is what a run without trouble has to say. */
export function calculate(facts: Facts, { services, apdexT, orderRate }: Chosen): Numbers {
  const lines = linesOf(facts, services);
  const requests = requestsOf(facts, services);
  const lists = requests.filter(({ route }) => route === LIST);
  const items = requests.filter(({ route }) => route === ITEM);
  const good = lists.filter(isGood).length;
  const failed = lists.filter(isFailure).length;
  const views = viewsOf(facts, services);
  const known = views.flatMap(({ item }) => item ?? []);
  const cents = sum(known.filter(({ available }) => available).map(({ price }) => Math.round(price * 100)));
  const served = known.filter(({ available }) => available).length;
  const missedCents = sum(known.filter(({ available }) => !available).map(({ price }) => Math.round(price * 100)));
  const listed = lists.filter(({ status }) => status === 200).length;
  const unknown = items.filter(({ status }) => status === 404);
  const [through, price] = [ratio(views.length, listed), ratio(cents / 100, served)];
  const isKnown = through !== undefined && price !== undefined;
  const lostOutage = failed === 0 ? 0 : isKnown ? (failed * through * price * orderRate) / 100 : undefined;
  const lostUnavailable = (missedCents / 100) * (orderRate / 100);
  const shares = counts(views.map(({ item }) => item?.restaurant ?? 'unknown'));
  return {
    menu_availability: ratio(good, good + failed),
    item_availability: ratio(items.filter((line) => isGood(line) || line.status === 404).length, items.length),
    found: ratio(served, items.length),
    apdex: apdex(requests, apdexT),
    latency_p95: quantile(0.95, requests.filter(isGood)),
    affected_requests: requests.filter(isFailure).length,
    bad_minutes: badMinutes(lists),
    error_budget: minus(1, ratio(failed, (1 - AVAILABILITY) * (good + failed))),
    menu_views: listed,
    item_views: views.length,
    view_through: ratio(views.length, listed),
    unavailable_demand: known.length - served,
    unserved_demand: unknown.length,
    unknown_ids: new Set(unknown.map(({ id = '' }) => id)).size,
    value_shown: cents / 100,
    lost_revenue_outage: lostOutage,
    lost_revenue_outage_low: times(lostOutage, 0.5),
    lost_revenue_outage_high: times(lostOutage, 2),
    lost_revenue_unavailable: lostUnavailable,
    lost_revenue_unavailable_low: lostUnavailable / 2,
    lost_revenue_unavailable_high: lostUnavailable * 2,
    concentration: ratio(Math.max(0, ...shares.values()), views.length),
    throughput: requests.length / ((facts.to - facts.from) / 1000),
    failures: lines.filter(({ status, error }) => status > 0 && error !== '').length,
    burn_rate: over(worst(lists, services), 1 - AVAILABILITY),
    service_starts: lines.filter(({ isLifecycle, message }) => isLifecycle && message.startsWith('Starting server'))
      .length,
    log_parse_failures: ratio(lines.filter(({ isObject }) => !isObject).length, lines.length),
    trace_completeness: ratio(requests.filter(({ trace }) => trace !== undefined).length, requests.length),
    // Brokers had the newest request within seconds of its being printed.
    newest_row: newest(requests),
    newest_row_latest: times(newest(requests), 1, SOON),
    data_behind: 0,
    complete_until: facts.to,
    lag_records: 0,
    completeness: 1,
    audit_residual: 0,
    spool_items: 0,
    dead_letters: 0,
    lost: 0,
  };
}

/** When the last of them was, in seconds since the epoch. */
function newest(requests: Line[]): number | undefined {
  const times = requests.flatMap(({ at }) => at ?? []);
  return times.length === 0 ? undefined : times.reduce((latest, each) => Math.max(latest, each)) / 1000;
}

/** The largest share of failed lists that a service has. */
function worst(lists: Line[], services: string[]): number | undefined {
  const shares = services.flatMap((service) => {
    const own = lists.filter((line) => line.service === service && (isGood(line) || isFailure(line)));
    return ratio(own.filter(isFailure).length, own.length) ?? [];
  });
  return shares.length === 0 ? undefined : Math.max(...shares);
}

/** Good answers within T count 1, within 4 T a half, all others 0. What says no number is not in the histogram. */
function apdex(requests: Line[], t: number): number | undefined {
  const timed = requests.flatMap((line) => (line.took === undefined ? [] : [{ ...line, seconds: line.took / 1000 }]));
  const within = (limit: number) => timed.filter((line) => !isFailure(line) && line.seconds <= limit).length;
  return ratio((within(t) + within(4 * t)) / 2, timed.length);
}

/** As Prometheus reads it from buckets: within the bucket of the rank, by a straight line. */
function quantile(share: number, requests: Line[]): number | undefined {
  const seconds = requests.flatMap(({ took }) => (took === undefined ? [] : [took / 1000]));
  const rank = share * seconds.length;
  const cumulated = BOUNDS.map((bound) => seconds.filter((each) => each <= bound).length);
  const bucket = cumulated.findIndex((count) => count >= rank);
  if (seconds.length === 0 || bucket < 0) {
    return undefined;
  }
  const [lower, upper] = [BOUNDS[bucket - 1] ?? 0, BOUNDS[bucket] ?? 0];
  const before = cumulated[bucket - 1] ?? 0;
  return lower + ((upper - lower) * (rank - before)) / ((cumulated[bucket] ?? 0) - before);
}

function badMinutes(lists: Line[]): number {
  const minutes = new Map<number | undefined, Line[]>();
  for (const line of lists.filter((each) => isGood(each) || isFailure(each))) {
    minutes.set(line.minute, [...(minutes.get(line.minute) ?? []), line]);
  }
  const isBad = (each: Line[]) =>
    each.length >= SMALLEST_MINUTE && each.filter(isGood).length / each.length < AVAILABILITY;
  return [...minutes.values()].filter(isBad).length;
}

/** How often each text comes. */
export function counts(texts: string[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const text of texts) {
    found.set(text, (found.get(text) ?? 0) + 1);
  }
  return found;
}

const sum = (numbers: number[]) => numbers.reduce((total, each) => total + each, 0);
const ratio = (part: number, whole: number) => (whole === 0 ? undefined : part / whole);
const times = (what: number | undefined, by: number, more = 0) => (what === undefined ? undefined : what * by + more);
/** Seconds within which a printed line is with the brokers. */
const SOON = 8;
const minus = (from: number, what: number | undefined) => (what === undefined ? undefined : from - what);
const over = (what: number | undefined, by: number) => (what === undefined ? undefined : what / by);
