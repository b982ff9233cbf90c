/** The boards behind the unified one: one question each. */
import { TextBoxVariableBuilder } from '@grafana/grafana-foundation-sdk/dashboard';

import { type Board, place } from '../build/dashboard.ts';
import { gauge, stat } from '../build/panels.ts';
import { apdexT, category, orderRate, processes, restaurant, service } from '../build/variables.ts';
import * as panels from './panels.ts';

export const slo: Board = {
  uid: 'slo',
  title: 'SLO and alerts',
  description: 'Whether the Menu API keeps its objectives, how fast the error budget is spent, and since when.',
  tags: ['detail'],
  variables: [service(), apdexT()],
  head: [
    [
      place(5, 5, stat('menu_availability', 'mimir')),
      place(5, 5, stat('item_availability')),
      place(5, 5, stat('error_budget').timeFrom('30d').hideTimeOverride(true)),
      place(4, 5, stat('burn_rate')),
      place(5, 5, gauge('apdex', 0, 1)),
    ],
  ],
  sections: [
    {
      title: 'Availability',
      rows: [
        [place(12, 8, panels.successOverTime()), place(12, 8, panels.burnRate())],
        [
          place(14, 7, panels.badMinutes()),
          place(5, 7, stat('bad_minutes')),
          place(5, 7, stat('affected_requests', 'mimir')),
        ],
      ],
    },
    {
      title: 'Latency',
      rows: [[place(12, 8, panels.latency()), place(8, 8, panels.latencyHeatmap()), place(4, 8, stat('latency_p95'))]],
    },
  ],
};

export const business: Board = {
  uid: 'business-explorer',
  title: 'Business explorer',
  description: 'What customers looked at, what they could not have, and what that is estimated to cost.',
  tags: ['detail'],
  variables: [service(), restaurant(), category(), orderRate()],
  head: [
    [
      place(4, 4, stat('menu_views')),
      place(4, 4, stat('item_views')),
      place(4, 4, stat('view_through')),
      place(4, 4, stat('value_shown')),
      place(4, 4, stat('found')),
      place(4, 4, stat('concentration')),
    ],
  ],
  sections: [
    {
      title: 'What is looked at',
      rows: [
        [
          place(12, 8, panels.viewsOfItems()),
          place(6, 8, panels.viewsByRestaurant()),
          place(6, 8, panels.viewsByCategory()),
        ],
        [place(12, 8, panels.popularity()), place(6, 8, panels.priceMix()), place(6, 8, panels.viewThrough())],
      ],
    },
    {
      title: 'What is missed',
      rows: [
        [
          place(6, 4, panels.lostRevenue()),
          place(6, 4, panels.lostByUnavailable()),
          place(4, 4, stat('unavailable_demand')),
          place(4, 4, stat('unserved_demand')),
          place(4, 4, stat('unknown_ids')),
        ],
        [place(10, 8, panels.demandSplit()), place(9, 8, panels.itemTable()), place(5, 8, panels.unservedIds())],
      ],
    },
  ],
};

export const serviceBoard: Board = {
  uid: 'service',
  title: 'Service: logs and traces',
  description: 'The lines and traces of a service, and one trace drawn whole. Other boards lead here.',
  tags: ['detail'],
  variables: [
    service(),
    new TextBoxVariableBuilder('trace_id')
      .label('Trace id')
      .defaultValue('')
      .current({ selected: true, text: '', value: '' }),
    new TextBoxVariableBuilder('search')
      .label('Search')
      .defaultValue('')
      .current({ selected: true, text: '', value: '' }),
  ],
  head: [
    [place(14, 12, panels.waterfall()), place(10, 12, panels.failedTraces())],
    [place(14, 6, panels.linesOfTrace()), place(10, 6, panels.slowTraces())],
  ],
  sections: [
    {
      title: 'Lines',
      rows: [[place(16, 10, panels.searchableLog()), place(8, 10, panels.failureReasons())]],
    },
    {
      title: 'Rate and duration, from spans',
      rows: [[place(12, 8, panels.spanRate()), place(12, 8, panels.latencyHeatmap())]],
    },
  ],
};

export const pipeline: Board = {
  uid: 'pipeline-and-lag',
  title: 'Pipeline and consumer lag',
  description: 'Where data is on its way, how late it is, and whether it can be believed.',
  tags: ['pipeline'],
  variables: [service(), ...processes()],
  head: [
    [
      place(4, 4, stat('complete_until')),
      place(4, 4, stat('data_behind')),
      place(4, 4, stat('completeness')),
      place(4, 4, panels.verdict()),
      place(4, 4, stat('dead_letters')),
      place(4, 4, stat('lost')),
    ],
  ],
  sections: [
    { title: 'Flow', rows: [[place(12, 8, panels.flow()), place(12, 8, panels.inAndOut())]] },
    {
      title: 'Consumer lag',
      rows: [
        [place(12, 8, panels.lagSeconds()), place(12, 8, panels.lagRecords())],
        [place(12, 7, panels.drainAndHeadRoom()), place(12, 7, panels.headRoom())],
        [place(24, 9, panels.partitions())],
      ],
    },
    {
      title: 'Edges',
      rows: [
        [place(8, 7, panels.spool()), place(8, 7, panels.timeToFull()), place(8, 7, panels.refused())],
        [place(12, 10, panels.logFiles()), place(12, 10, panels.readiness())],
      ],
    },
    {
      title: 'Sinks and dead letters',
      rows: [[place(8, 7, panels.insertTime()), place(8, 7, panels.retries()), place(8, 7, panels.deadLetters())]],
    },
    {
      title: 'Derived series',
      rows: [[place(12, 6, panels.derivedBesideRows()), place(12, 6, panels.deriving())]],
    },
  ],
};

export const storesBoard: Board = {
  uid: 'stores',
  title: 'Stores and cost',
  description: 'What the stores hold, on which disks, and what edges and hubs cost.',
  tags: ['pipeline'],
  variables: [...processes()],
  head: [[place(14, 8, panels.tableSizes()), place(10, 8, panels.tiers())]],
  sections: [
    { title: 'Rows', rows: [[place(24, 7, panels.rowsIn())]] },
    { title: 'Programs', rows: [[place(12, 7, panels.cost('cpu')), place(12, 7, panels.cost('memory'))]] },
  ],
};
