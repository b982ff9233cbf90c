/** `platform-overview`: what goes on, for customers, the business and engineers, and whether it can be believed. */
import * as common from '@grafana/grafana-foundation-sdk/common';
import { PanelBuilder as AlertList } from '@grafana/grafana-foundation-sdk/dashboard';

import { type Board, place } from '../build/dashboard.ts';
import { AMBER, BAD, GOOD, UNKNOWN, sentences } from '../build/look.ts';
import { NO_DATA } from '../build/look.ts';
import { type Meaning, dataLink, description, gauge, stat, statOf } from '../build/panels.ts';
import { CLICKHOUSE, ch } from '../build/targets.ts';
import { apdexT, category, orderRate, restaurant, service } from '../build/variables.ts';
import * as panels from './panels.ts';
import { BUSINESS_SENTENCE, CUSTOMERS_SENTENCE, TECHNICAL_SENTENCE } from './sentences.ts';

const WORDS = { OK: GOOD, Degraded: AMBER, Failing: BAD, Unknown: UNKNOWN };

function sentence(title: string, who: string, query: string, row: string) {
  const meaning: Meaning = {
    title,
    definition: `How it is for ${who}, in one sentence. It begins with OK, Degraded, Failing or Unknown`,
    source: 'request lines of the log, ClickHouse `menu_requests`',
    caveat: 'over the whole range of the board: a short failure in a long range is a small number',
    ifRed: `read the row *${row}* below`,
  };
  return statOf(meaning, ch(query), CLICKHOUSE)
    .mappings(sentences(WORDS))
    .textMode(common.BigValueTextMode.Value)
    .justifyMode(common.BigValueJustifyMode.Auto)
    .text(new common.VizTextDisplayOptionsBuilder().valueSize(17));
}

function alerts() {
  const meaning: Meaning = {
    title: 'Alerts',
    definition: "Alerts that fire or are pending, by Mimir's ruler",
    source: 'the rules of `dashboards/rules`',
    caveat: 'an alert that fires all the time (Watchdog) proves that the way to the pager works, and is left out',
    ifRed: 'open the alert: its annotation links to the runbook and to the panel that shows it',
  };
  return new AlertList()
    .type('alertlist')
    .title(meaning.title)
    .description(description(meaning))
    .datasource({ type: 'prometheus', uid: '${datasource}' })
    .options({
      alertInstanceLabelFilter: '{alertname!="Watchdog"}',
      alertName: '',
      dashboardAlerts: false,
      datasource: 'mimir',
      groupBy: [],
      groupMode: 'default',
      maxItems: 20,
      showInactiveAlerts: false,
      showInstances: false,
      sortOrder: 1,
      stateFilter: { error: true, firing: true, noData: false, normal: false, pending: true, recovering: true },
      viewMode: 'list',
    })
    .fieldConfig({ defaults: { noValue: NO_DATA }, overrides: [] });
}

export const overview: Board = {
  uid: 'platform-overview',
  title: 'Platform overview',
  description:
    'The Menu API as customers, the business and engineers see it, derived from its logs and traces, and whether these numbers can be believed.',
  tags: ['overview'],
  variables: [service(), restaurant(), category(), apdexT(), orderRate()],
  head: [
    [
      place(6, 4, sentence('Customers', 'customers', CUSTOMERS_SENTENCE, 'Customer experience')),
      place(6, 4, sentence('Business', 'the business', BUSINESS_SENTENCE, 'Business')),
      place(6, 4, sentence('Engineering', 'engineers', TECHNICAL_SENTENCE, 'Technical')),
      place(6, 4, alerts()),
    ],
    [
      place(4, 3, stat('complete_until')),
      place(4, 3, stat('data_behind').graphMode(common.BigValueGraphMode.None)),
      place(4, 3, stat('completeness')),
      place(4, 3, panels.verdict()),
      place(4, 3, stat('newest_row')),
      place(4, 3, stat('error_budget').timeFrom('30d').hideTimeOverride(true)),
    ],
  ],
  sections: [
    {
      title: 'Customer experience: are customers hurt now, how many requests, since when?',
      rows: [
        [
          place(5, 7, stat('menu_availability').dataLinks([dataLink('Traces and lines', panels.SERVICE_BOARD)])),
          place(5, 7, gauge('apdex', 0, 1)),
          place(5, 7, stat('affected_requests').dataLinks([dataLink('Failed traces', panels.SERVICE_BOARD)])),
          place(9, 7, panels.latency()),
        ],
        [place(12, 7, panels.badMinutes()), place(6, 7, panels.whatCustomersSaw()), place(6, 7, panels.burnRate())],
      ],
    },
    {
      title: 'Business: what does it cost, who is hit, what to mend first?',
      rows: [
        [place(6, 5, panels.lostRevenue()), place(6, 5, panels.lostByUnavailable()), place(12, 5, panels.views())],
        [place(15, 8, panels.itemTable()), place(5, 8, panels.viewsByRestaurant()), place(4, 8, panels.unservedIds())],
        [place(12, 6, panels.revenueAtRisk()), place(12, 6, panels.demandSplit())],
      ],
    },
    {
      title: 'Technical: where is it? One click to the evidence',
      rows: [
        [place(8, 7, panels.requestRate()), place(8, 7, panels.failureReasons()), place(8, 7, panels.latencyHeatmap())],
        [place(14, 9, panels.errorLog()), place(10, 9, panels.failedTraces())],
        [
          place(8, 3, stat('service_starts')),
          place(8, 3, stat('log_parse_failures', 'mimir')),
          place(8, 3, stat('trace_completeness')),
        ],
      ],
    },
    {
      title: 'Pipeline: can the rows above be believed?',
      rows: [
        [place(12, 6, panels.flow()), place(12, 6, panels.lagSeconds())],
        [
          place(6, 3, stat('lag_records').dataLinks([dataLink('Pipeline and lag', panels.PIPELINE_BOARD)])),
          place(6, 3, stat('spool_items')),
          place(6, 3, stat('dead_letters')),
          place(6, 3, stat('lost')),
        ],
      ],
    },
  ],
};
