/** What wakes somebody because of the Menu API. */
import { AVAILABILITY, BURN, LATENCY, LATENCY_SECONDS } from '../semantic/slo.ts';
import { IN_DOUBT } from './pipeline.ts';
import type { Alert, Group, Recording } from './types.ts';

const WINDOWS = ['5m', '30m', '1h', '6h'] as const;
type Window = (typeof WINDOWS)[number];

const LIST = 'route="/api/menu"';
const SERVED = 'route=~"/api/menu|/api/menu/{id}",status_class="2xx"';

/** Fewer failed or slow answers than this say nothing about a ratio: on a quiet night one of them is a tenth of all. */
const FEWEST = 3;

const budget = (objective: number) => Number((1 - objective).toFixed(6));

/** Share of failed lists ÷ what the objective allows. Without a request there is no series, not 0. */
function availabilityBurn(window: Window): Recording {
  const bad = `sum by (service) (rate(menu_requests_total{${LIST},status_class="5xx"}[${window}]))`;
  const valid = `sum by (service) (rate(menu_requests_total{${LIST},status_class=~"2xx|5xx"}[${window}]))`;
  return {
    record: `menu:availability_burn:rate${window}`,
    expression: `(${bad} or 0 * ${valid}) / (${valid} > 0) / ${budget(AVAILABILITY)}`,
  };
}

/** Share of good answers that were slow ÷ what the objective allows. */
function latencyBurn(window: Window): Recording {
  const [fast, all] = answers('rate', window);
  return {
    record: `menu:latency_burn:rate${window}`,
    expression: `(1 - ${fast} / (${all} > 0)) / ${budget(LATENCY)}`,
  };
}

/** Good answers that were fast, and all good answers. */
function answers(by: 'rate' | 'increase', window: string): [fast: string, all: string] {
  const of = (series: string) => `sum by (service) (${by}(menu_request_duration_seconds_${series}[${window}]))`;
  return [of(`bucket{${SERVED},le="${LATENCY_SECONDS}"}`), of(`count{${SERVED}}`)];
}

function burn(kind: 'availability' | 'latency', speed: 'fast' | 'slow'): Alert {
  const { factor, long, short } = BURN[speed];
  const series = (window: string) => `menu:${kind}_burn:rate${window} > ${factor}`;
  const isFast = speed === 'fast';
  const [fast, all] = answers('increase', short);
  const cases = {
    availability: `sum by (service) (increase(menu_requests_total{${LIST},status_class="5xx"}[${short}])) >= ${FEWEST}`,
    latency: `${all} - ${fast} >= ${FEWEST}`,
  };
  const name = kind === 'availability' ? 'Availability' : 'Latency';
  const what = kind === 'availability' ? 'menus fail' : `good answers take more than ${LATENCY_SECONDS} s`;
  return {
    name: `Menu${name}Burn${isFast ? 'Fast' : 'Slow'}`,
    expression: [series(long), series(short), cases[kind]].join(' and '),
    holds: isFast ? '2m' : '15m',
    severity: isFast ? 'page' : 'ticket',
    owner: 'Menu team',
    summary: `{{ $labels.service }}: ${what}; the error budget burns {{ $value | printf "%.0f" }} times too fast`,
    description: isFast
      ? `At this rate the budget of 30 days is gone in two days or less. It has held for ${long} on the mean and still holds over ${short}.`
      : `At this rate the budget of 30 days is gone in five days. It has held for ${long} on the mean and still holds over ${short}.`,
    panel: kind === 'availability' ? ['slo', 'Burn rate'] : ['slo', 'Time of good answers'],
  };
}

const traffic = (window: string, offset = '') =>
  `sum by (service) (rate(menu_requests_total{route=~"/api/menu.*"}[${window}]${offset}))`;

/**
 * Traffic that falls to less than a twentieth, and then stays away.
 * It begins only when the pipeline would show requests if there were any: no series then means no request.
 * The half hour that it is compared with is over before the outage is, so what fires goes on until a request comes, for a day at most.
 */
function trafficGone(): string {
  const before = traffic('30m', ' offset 10m');
  const begins = `(${traffic('5m')} or 0 * ${before}) < 0.05 * ${before} and ${before} > 0.5 unless on () ${IN_DOUBT}`;
  const fires = 'max by (service) (ALERTS{alertname="MenuTrafficGone",alertstate="firing"})';
  return `${begins} or ${fires} and ${traffic('1d')} > 0 unless ${traffic('5m')} > 0`;
}

export const MENU: Group[] = [
  {
    name: 'menu-slo',
    recordings: [...WINDOWS.map(availabilityBurn), ...WINDOWS.map(latencyBurn)],
    alerts: [
      burn('availability', 'fast'),
      burn('availability', 'slow'),
      burn('latency', 'fast'),
      burn('latency', 'slow'),
    ],
  },
  {
    name: 'menu-service',
    recordings: [],
    alerts: [
      {
        name: 'MenuTrafficGone',
        expression: trafficGone(),
        holds: '5m',
        severity: 'page',
        owner: 'Menu team',
        summary: '{{ $labels.service }}: traffic fell to less than a twentieth of what it was',
        description:
          'The half hour before had more than one request in two seconds, so this is no quiet night, and edges and hubs work. Either customers do not reach the service, or it does not answer and logs nothing.',
        panel: ['platform-overview', 'Requests a second'],
      },
      {
        name: 'MenuUnknownIds',
        expression:
          'sum by (service) (rate(menu_requests_total{route="/api/menu/{id}",status="404"}[10m])) > 0.5 * sum by (service) (rate(menu_requests_total{route="/api/menu/{id}"}[10m])) and sum by (service) (rate(menu_requests_total{route="/api/menu/{id}",status="404"}[10m])) > 1',
        holds: '10m',
        severity: 'ticket',
        owner: 'Product',
        summary: '{{ $labels.service }}: more than half of the requests for items are for ids that do not exist',
        description:
          'A stale link, a removed dish, or somebody who tries ids. Customers are not hurt by it, and numbers of demand are.',
        panel: ['business-explorer', 'Unknown ids'],
      },
      {
        name: 'MenuServiceRestarts',
        expression: 'sum by (service) (increase(menu_service_starts_total[30m])) >= 5',
        // The first samples of a series are extrapolated to as much as twice their growth.
        holds: '1m',
        severity: 'ticket',
        owner: 'Menu team',
        summary: '{{ $labels.service }} started {{ $value | printf "%.0f" }} times in half an hour',
        description: 'More starts than a rollout explains: it crashes, or its probe ends it.',
        panel: ['platform-overview', 'Starts of the service'],
      },
      {
        name: 'MenuLogUnreadable',
        expression:
          'sum by (service) (rate(menu_log_lines_total{parsed="false"}[10m])) > 0.01 * sum by (service) (rate(menu_log_lines_total[10m]))',
        // Longer than the window: a single stack trace is no changed format.
        holds: '15m',
        severity: 'ticket',
        owner: 'Menu team',
        summary: '{{ $labels.service }}: more than one line in a hundred is no JSON',
        description:
          'What is not read as fields is in no number of the boards, so all of them are too small. A changed format, or stack traces.',
        panel: ['platform-overview', 'Log lines that are no JSON'],
      },
    ],
  },
];
