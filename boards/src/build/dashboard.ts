/** A board with what all of ours share, and the repairs that the SDK's output needs. */
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import {
  AnnotationQueryBuilder,
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  type Panel,
  RowBuilder,
  type VariableModel,
} from '@grafana/grafana-foundation-sdk/dashboard';

import { CLICKHOUSE, MIMIR, ch, instant } from './targets.ts';
import { stores } from './variables.ts';

/** A panel with its place: width and height in Grafana's grid of 24 columns. */
export interface Placed {
  panel: Builder<Panel>;
  w: number;
  h: number;
}

export const place = (w: number, h: number, panel: Builder<Panel>): Placed => ({ panel, w, h });

/** Panels under a heading. */
export interface Section {
  title: string;
  /** Rows of panels; each row is as high as its highest panel. */
  rows: Placed[][];
  collapsed?: boolean;
}

export interface Board {
  uid: string;
  title: string;
  description: string;
  tags: string[];
  variables: Builder<VariableModel>[];
  /** Panels above the first heading. */
  head: Placed[][];
  sections: Section[];
}

const TAG = 'eventline';

/** Builds the board as JSON that Grafana provisions as it is. */
export function build(board: Board): Dashboard {
  const builder = new DashboardBuilder(board.title)
    .uid(board.uid)
    .description(board.description)
    .tags([TAG, ...board.tags])
    .readonly()
    .tooltip(DashboardCursorSync.Crosshair)
    .timezone('browser')
    .time({ from: 'now-6h', to: 'now' })
    .refresh('30s')
    .variables([...stores(), ...board.variables])
    .link(links());
  for (const annotation of annotations()) {
    builder.annotation(annotation);
  }
  let y = addRows(builder, board.head, 0);
  for (const section of board.sections) {
    y = addSection(builder, section, y);
  }
  return repaired(builder.build());
}

function links(): DashboardLinkBuilder {
  return new DashboardLinkBuilder('Boards')
    .type(DashboardLinkType.Dashboards)
    .tags([TAG])
    .includeVars(true)
    .keepTime(true)
    .asDropdown(false);
}

/** What happened, on every board. */
function annotations(): AnnotationQueryBuilder[] {
  const starts =
    "SELECT Timestamp AS time, concat('start of ', ServiceName) AS text, 'restart' AS tags FROM otel_logs WHERE $__timeFilter(Timestamp) " +
    "AND menu_status = 0 AND LogAttributes['status_code'] = '0' AND startsWith(LogAttributes['message'], 'Starting server') LIMIT 100";
  const incidents =
    'SELECT started_at AS time, ended_at AS timeEnd, text, kind AS tags FROM incident_marks WHERE started_at <= $__toTime AND ended_at >= $__fromTime LIMIT 100';
  return [
    new AnnotationQueryBuilder()
      .name('Service starts')
      .datasource(CLICKHOUSE)
      .enable(true)
      .iconColor('blue')
      .target(ch(starts, 'table', 'Anno') as never),
    new AnnotationQueryBuilder()
      .name('Outages and incidents')
      .datasource(CLICKHOUSE)
      .enable(true)
      .iconColor('red')
      .target(ch(incidents, 'table', 'Anno') as never),
    new AnnotationQueryBuilder()
      .name('Firing alerts')
      .datasource(MIMIR)
      .enable(false)
      .iconColor('orange')
      .expr('max by (alertname) (ALERTS{alertstate="firing",alertname!="Watchdog"})')
      .titleFormat('{{alertname}}')
      .step('60s')
      .target(instant('max by (alertname) (ALERTS{alertstate="firing",alertname!="Watchdog"})', '', 'Anno') as never),
  ];
}

function addRows(builder: DashboardBuilder, rows: Placed[][], top: number): number {
  let y = top;
  for (const row of rows) {
    let x = 0;
    for (const { panel, w, h } of row) {
      builder.withPanel(positioned(panel, x, y, w, h));
      x += w;
    }
    y += Math.max(...row.map(({ h }) => h));
  }
  return y;
}

function addSection(builder: DashboardBuilder, { title, rows, collapsed }: Section, top: number): number {
  const heading = new RowBuilder(title).collapsed(collapsed ?? false).gridPos({ x: 0, y: top, w: 24, h: 1 });
  if (!collapsed) {
    builder.withRow(heading);
    return addRows(builder, rows, top + 1);
  }
  let y = top + 1;
  for (const row of rows) {
    let x = 0;
    for (const { panel, w, h } of row) {
      heading.withPanel(positioned(panel, x, y, w, h));
      x += w;
    }
    y += Math.max(...row.map(({ h }) => h));
  }
  builder.withRow(heading);
  return top + 1;
}

function positioned(panel: Builder<Panel>, x: number, y: number, w: number, h: number): Builder<Panel> {
  const built = panel.build();
  built.gridPos = { x, y, w, h };
  return { build: () => built };
}

/** The SDK gives panels no ids, rows all the id 0, and links and annotations a place that older Grafanas refuse. */
function repaired(dashboard: Dashboard): Dashboard {
  let id = 0;
  for (const panel of dashboard.panels ?? []) {
    panel.id = ++id;
    for (const inner of ('panels' in panel ? panel.panels : undefined) ?? []) {
      inner.id = ++id;
    }
  }
  return JSON.parse(JSON.stringify(dashboard), (key, value: unknown) =>
    key === 'placement' && value === 'inControlsMenu' ? undefined : value,
  ) as Dashboard;
}
