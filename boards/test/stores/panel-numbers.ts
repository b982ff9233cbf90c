/** Panels that show more than one metric: what they have to show, calculated from what was printed and from the menu. */
import type { Panel } from '../../preview/query/index.ts';
import { calculate, counts, linesOf, requestsOf, viewsOf, type Chosen } from './calculator.ts';
import type { Figures } from './figures.ts';
import type { Facts, Item } from './stores.ts';

/** A panel of a board with its figures. */
export interface Expected {
  board: string;
  title: string;
  figures: (facts: Facts, chosen: Chosen) => Figures;
  /** By which share of it a figure may differ: rates of counters are sampled. Exact without one. */
  share?: number;
}

const ITEM = '/api/menu/{id}';
const LIST = '/api/menu';
/** Longer ids are cut. */
const SHOWN = 60;
const ROWS = 20;
/** Errors that are a label of their own; see `hub-consumer/derive/menu.yaml`. */
const ERRORS = ['restaurant service timeout', 'menu item not found', 'missing menu item ID', 'handler timeout'];
const SAMPLED = 0.25;

export const EXPECTED: Expected[] = [
  { board: 'platform-overview', title: 'What customers saw', figures: whatCustomersSaw },
  { board: 'platform-overview', title: 'Items', figures: items },
  { board: 'platform-overview', title: 'Unknown ids', figures: unknownIds },
  { board: 'platform-overview', title: 'Views a minute', figures: viewsAMinute },
  { board: 'platform-overview', title: 'Demand that was not served', figures: unserved },
  { board: 'platform-overview', title: 'Lost by cause, over time (estimate)', figures: lostByCause },
  { board: 'platform-overview', title: 'Requests a second', figures: byStatusClass, share: SAMPLED },
  { board: 'platform-overview', title: 'Failure reasons', figures: byError, share: SAMPLED },
  {
    board: 'business-explorer',
    title: 'Views by restaurant',
    figures: viewsBy((item) => item?.restaurant ?? 'unknown'),
  },
  { board: 'business-explorer', title: 'Views by category', figures: viewsBy((item) => item?.category ?? 'unknown') },
  { board: 'business-explorer', title: 'Views by price', figures: viewsBy((item) => bandOf(item?.price ?? 0)) },
  { board: 'business-explorer', title: 'Popularity against a day and a week ago', figures: popularity },
  { board: 'slo', title: 'Minutes by route', figures: minutesByRoute },
];

/** The figures that are not as calculated, each in words. */
export function differences(found: Figures, expected: Figures, share = 0): string[] {
  const names = [...new Set([...Object.keys(found), ...Object.keys(expected)])];
  return names.flatMap((name) => {
    const [is, should] = [found[name], expected[name]];
    const isSame =
      typeof is === 'number' && typeof should === 'number'
        ? Math.abs(is - should) <= Math.abs(should) * share + 1e-9 * Math.max(1, Math.abs(should))
        : is === should;
    return isSame ? [] : [`${name} is ${String(is)} and not ${String(should)}`];
  });
}

/** The panel of a list of panels that has figures to be compared. */
export const isMeant = (panel: Panel, { title }: Expected): boolean => panel.title === title;

function whatCustomersSaw(facts: Facts, { services }: Chosen): Figures {
  const figures: Figures = {};
  const requests = requestsOf(facts, services);
  for (const route of [LIST, ITEM].filter((each) => requests.some((request) => request.route === each))) {
    const answered = (fits: (status: number) => boolean) =>
      requests.filter((request) => request.route === route && fits(request.status)).length;
    for (const status of [200, 400, 404, 500]) {
      figures[`${route} | ${status}`] = answered((each) => each === status);
    }
    figures[`${route} | other`] = answered((each) => ![200, 400, 404, 500].includes(each));
  }
  return figures;
}

/** Views of the day before are copies of the Menu API's own, of some items. */
function yesterday(facts: Facts, services: string[], id: string): number {
  const isCopied = services.includes('mock-service') && facts.yesterday.includes(id);
  return isCopied ? viewsOf(facts, ['mock-service']).filter((view) => view.id === id).length : 0;
}

function items(facts: Facts, { services, orderRate }: Chosen): Figures {
  const figures: Figures = {};
  const views = viewsOf(facts, services);
  for (const [id, count] of counts(views.map((view) => view.id))) {
    const item = views.find((view) => view.id === id)?.item;
    const before = yesterday(facts, services, id);
    const row = `${item?.name ?? 'unknown'} | ${item?.restaurant ?? 'unknown'} | `;
    figures[`${row}Views`] = count;
    figures[`${row}vs −1 d`] = before === 0 ? null : count / before - 1;
    figures[`${row}Price`] = item?.price ?? 0;
    figures[`${row}On sale`] = (item?.available ?? true) ? 1 : 0;
    figures[`${row}Lost (est.)`] = item?.available === false ? (count * item.price * orderRate) / 100 : 0;
  }
  return figures;
}

function popularity(facts: Facts, { services }: Chosen): Figures {
  const figures: Figures = {};
  const views = viewsOf(facts, services);
  for (const [id, count] of counts(views.map((view) => view.id))) {
    const before = yesterday(facts, services, id);
    const row = `${views.find((view) => view.id === id)?.item?.name ?? 'unknown'} | `;
    figures[`${row}Now`] = count;
    figures[`${row}A day ago`] = before === 0 ? null : before;
    figures[`${row}A week ago`] = null;
    figures[`${row}vs −1 d`] = before === 0 ? null : count / before - 1;
    figures[`${row}vs −7 d`] = null;
  }
  return figures;
}

function unknownIds(facts: Facts, { services }: Chosen): Figures {
  const unknown = requestsOf(facts, services).filter(({ route, status }) => route === ITEM && status === 404);
  const found = [...counts(unknown.map(({ id = '' }) => [...id].slice(0, SHOWN).join('')))];
  const inBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
  const first = found.sort(([a, times], [b, others]) => others - times || inBytes(a, b)).slice(0, ROWS);
  return Object.fromEntries(first.map(([id, times]) => [`${id} | Requests`, times]));
}

function viewsAMinute(facts: Facts, chosen: Chosen): Figures {
  const { menu_views = 0, item_views = 0 } = calculate(facts, chosen);
  return { 'menu views': menu_views, 'item views': item_views };
}

function unserved(facts: Facts, chosen: Chosen): Figures {
  const { unavailable_demand = 0, unserved_demand = 0 } = calculate(facts, chosen);
  const failed = requestsOf(facts, chosen.services).filter(({ route, status }) => route === ITEM && status >= 500);
  return { unavailable: unavailable_demand, 'unknown ids': unserved_demand, failed: failed.length };
}

function lostByCause(facts: Facts, chosen: Chosen): Figures {
  const { lost_revenue_outage = 0, lost_revenue_unavailable = 0 } = calculate(facts, chosen);
  return { 'failed menus': lost_revenue_outage, 'unavailable items': lost_revenue_unavailable };
}

/** A rate of each second, summed over the seconds, is the number. */
function byStatusClass(facts: Facts, { services }: Chosen): Figures {
  const derived = facts.services.filter(({ is_derived }) => is_derived).map(({ name }) => name);
  const requests = requestsOf(
    facts,
    services.filter((name) => derived.includes(name)),
  );
  return Object.fromEntries(counts(requests.map(({ status }) => `${Math.floor(status / 100)}xx`)));
}

function byError(facts: Facts, { services }: Chosen): Figures {
  const failed = linesOf(facts, services).filter(({ status, error }) => status > 0 && error !== '');
  return Object.fromEntries(counts(failed.map(({ error }) => (ERRORS.includes(error) ? error : 'other'))));
}

function viewsBy(nameOf: (item: Item | undefined) => string) {
  return (facts: Facts, { services }: Chosen): Figures => {
    const found = counts(viewsOf(facts, services).map(({ item }) => nameOf(item)));
    return Object.fromEntries([...found].map(([name, views]) => [`${name} | views`, views]));
  };
}

function bandOf(price: number): string {
  if (price < 10) {
    return 'below 10';
  }
  return price < 15 ? '10 to 15' : price < 20 ? '15 to 20' : '20 and more';
}

/** States are 0 for few requests, 1 for good and 2 for bad; their sum over the minutes. */
function minutesByRoute(facts: Facts, { services }: Chosen): Figures {
  const figures: Figures = {};
  const cells = new Map<string, { all: number; failed: number; route: string }>();
  for (const { route, minute, status } of requestsOf(facts, services)) {
    const key = `${route} ${minute}`;
    const cell = cells.get(key) ?? { all: 0, failed: 0, route };
    cells.set(key, { ...cell, all: cell.all + 1, failed: cell.failed + (status >= 500 ? 1 : 0) });
  }
  for (const { all, failed, route } of cells.values()) {
    const state = all < 20 ? 0 : failed / all <= 0.001 ? 1 : 2;
    figures[route] = (figures[route] ?? 0) + state;
  }
  return figures;
}
