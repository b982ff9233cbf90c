/** Panels as our boards have them: each with its meaning as description, thresholds by objective, and a look for "nothing known". */
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import * as common from '@grafana/grafana-foundation-sdk/common';
import {
  DashboardLinkBuilder,
  DashboardLinkType,
  type DataTransformerConfig,
  FieldColorBuilder,
  FieldColorModeId,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as BarGauge } from '@grafana/grafana-foundation-sdk/bargauge';
import { PanelBuilder as Gauge } from '@grafana/grafana-foundation-sdk/gauge';
import { PanelBuilder as Stat } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as StateTimeline } from '@grafana/grafana-foundation-sdk/statetimeline';
import { PanelBuilder as Table } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeSeries } from '@grafana/grafana-foundation-sdk/timeseries';

import { metric } from '../semantic/index.ts';
import type { Metric } from '../semantic/types.ts';
import { NEUTRAL, NO_DATA, byThreshold, palette, thresholds, unknownAs } from './look.ts';
import { CLICKHOUSE, MIMIR, ch, instant } from './targets.ts';

/** What a panel says of itself. */
export interface Meaning {
  title: string;
  definition: string;
  source: string;
  caveat: string;
  ifRed: string;
}

/** The description of a panel, as Markdown; the lint demands each of its parts. */
export function description({ definition, source, caveat, ifRed }: Meaning): string {
  return `**Definition:** ${definition}.\n\n**Source:** ${source}.\n\n**Caveat:** ${caveat}.\n\n**If red:** ${ifRed}.`;
}

/** Where a click on a value leads. */
export function dataLink(title: string, url: string): DashboardLinkBuilder {
  return new DashboardLinkBuilder(title).type(DashboardLinkType.Link).url(url);
}

/** What all kinds of panels take. */
interface AnyPanel {
  title(title: string): this;
  description(text: string): this;
  datasource(ref: common.DataSourceRef): this;
  withTarget(target: Builder<Dataquery>): this;
  unit(unit: string): this;
  decimals(decimals: number): this;
  noValue(text: string): this;
}

/** Which store answers for a metric where either could: SQL is exact, PromQL cheap over long ranges. */
export type Store = 'clickhouse' | 'mimir';

function targetOf(
  of: Metric,
  store: Store | undefined,
): { target: Builder<Dataquery>; datasource: common.DataSourceRef } {
  const wantsSql = store === undefined ? of.sql !== undefined : store === 'clickhouse';
  if (wantsSql && of.sql !== undefined) {
    return { target: ch(of.sql), datasource: CLICKHOUSE };
  }
  if (of.promql !== undefined) {
    return { target: instant(of.promql), datasource: MIMIR };
  }
  throw new Error(`metric "${of.id}" has no query for ${store ?? 'any store'}`);
}

function withMeaning<P extends AnyPanel>(panel: P, meaning: Meaning): P {
  return panel.title(meaning.title).description(description(meaning)).noValue(NO_DATA);
}

function ofMetric<P extends AnyPanel>(panel: P, id: string, store?: Store): P {
  const of = metric(id);
  const { target, datasource } = targetOf(of, store);
  withMeaning(panel, of).datasource(datasource).withTarget(target).unit(of.unit);
  return of.decimals === undefined ? panel : panel.decimals(of.decimals);
}

const lastOf = (fields = '') =>
  new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).fields(fields).values(false);

/** A number with the colour of its objective. */
export function stat(id: string, store?: Store): Stat {
  const panel = ofMetric(new Stat(), id, store);
  return panel
    .thresholds(thresholds(metric(id).objective))
    .colorScheme(byThreshold())
    .mappings([unknownAs(NO_DATA)])
    .reduceOptions(lastOf())
    .graphMode(common.BigValueGraphMode.None)
    .colorMode(common.BigValueColorMode.Value)
    .textMode(common.BigValueTextMode.Auto)
    .justifyMode(common.BigValueJustifyMode.Auto);
}

/** A sentence or several numbers that a query answers with, each field by its name. */
export function statOf(meaning: Meaning, target: Builder<Dataquery>, datasource: common.DataSourceRef): Stat {
  return withMeaning(new Stat(), meaning)
    .datasource(datasource)
    .withTarget(target)
    .thresholds(thresholds(undefined))
    .colorScheme(byThreshold())
    .mappings([unknownAs(NO_DATA)])
    .reduceOptions(lastOf('/.*/'))
    .graphMode(common.BigValueGraphMode.None)
    .colorMode(common.BigValueColorMode.Value)
    .textMode(common.BigValueTextMode.Auto)
    .justifyMode(common.BigValueJustifyMode.Auto);
}

/** A number on its scale. */
export function gauge(id: string, min: number, max: number, store?: Store): Gauge {
  return ofMetric(new Gauge(), id, store)
    .thresholds(thresholds(metric(id).objective))
    .colorScheme(byThreshold())
    .mappings([unknownAs(NO_DATA)])
    .reduceOptions(lastOf())
    .min(min)
    .max(max)
    .showThresholdLabels(false)
    .showThresholdMarkers(true);
}

/** Lines over time. */
export function lines(
  meaning: Meaning,
  datasource: common.DataSourceRef,
  ...targets: Builder<Dataquery>[]
): TimeSeries {
  const panel = withMeaning(new TimeSeries(), meaning)
    .datasource(datasource)
    .targets(targets)
    .colorScheme(palette())
    .lineWidth(2)
    .fillOpacity(8)
    .axisSoftMin(0)
    .showPoints(common.VisibilityMode.Auto)
    .spanNulls(false)
    .tooltip(
      new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending),
    );
  return panel.legend(legend([]));
}

/** Bars over time that add up. */
export function bars(meaning: Meaning, datasource: common.DataSourceRef, ...targets: Builder<Dataquery>[]): TimeSeries {
  return lines(meaning, datasource, ...targets)
    .drawStyle(common.GraphDrawStyle.Bars)
    .lineWidth(0)
    .fillOpacity(80)
    .stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal).group('A'));
}

/** A legend below the panel; with calculations as a table. */
export function legend(calculations: string[]): common.VizLegendOptionsBuilder {
  return new common.VizLegendOptionsBuilder()
    .showLegend(true)
    .placement(common.LegendPlacement.Bottom)
    .displayMode(calculations.length > 0 ? common.LegendDisplayMode.Table : common.LegendDisplayMode.List)
    .calcs(calculations);
}

/** One bar a row of the answer. */
export function barGauge(meaning: Meaning, target: Builder<Dataquery>, datasource: common.DataSourceRef): BarGauge {
  return withMeaning(new BarGauge(), meaning)
    .datasource(datasource)
    .withTarget(target)
    .thresholds(thresholds(undefined))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Fixed).fixedColor(NEUTRAL))
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).fields('').values(true))
    .orientation(common.VizOrientation.Horizontal)
    .displayMode('basic' as common.BarGaugeDisplayMode)
    .valueMode('color' as common.BarGaugeValueMode)
    .min(0)
    .decimals(0);
}

/** A table of an answer. */
export function table(
  meaning: Meaning,
  target: Builder<Dataquery>,
  datasource: common.DataSourceRef,
  transformations: DataTransformerConfig[] = [],
): Table {
  return withMeaning(new Table(), meaning)
    .datasource(datasource)
    .withTarget(target)
    .transformations(transformations)
    .showHeader(true)
    .cellHeight(common.TableCellHeight.Sm);
}

/** States over time, a line each. */
export function states(
  meaning: Meaning,
  datasource: common.DataSourceRef,
  ...targets: Builder<Dataquery>[]
): StateTimeline {
  return withMeaning(new StateTimeline(), meaning)
    .datasource(datasource)
    .targets(targets)
    .mergeValues(true)
    .showValue(common.VisibilityMode.Never)
    .rowHeight(0.8)
    .fillOpacity(90)
    .lineWidth(0)
    .legend(legend([]));
}
