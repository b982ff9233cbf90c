/** Pieces of PromQL that every query shares. */

/** The chosen services. */
export const SERVICE = 'service=~"$service"';

/** The routes of menu and items: probes answer fast, and often. */
export const SERVED = 'route=~"/api/menu.*"';

/** The chosen processes of the pipeline. */
export const PROCESS = 'job=~"$job",instance=~"$instance"';

/** The chosen markets of the order flow. */
export const MARKET = 'market=~"$market"';

/** Requests of the list route of a class. */
export function lists(statusClass: string, range: string): string {
  return `sum(increase(menu_requests_total{${SERVICE},route="/api/menu",status_class=~"${statusClass}"}[${range}]))`;
}

/** Requests of the item route that match. */
export function items(matchers: string, range: string): string {
  const all = [SERVICE, 'route="/api/menu/{id}"', matchers].filter((part) => part !== '').join(',');
  return `sum(increase(menu_requests_total{${all}}[${range}]))`;
}

/** A sum of which there may be no series yet: nothing was counted, which is 0 wherever something else was. */
export function orZero(expression: string, wherever: string): string {
  return `(${expression} or 0 * ${wherever})`;
}
