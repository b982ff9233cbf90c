/**
 * The panels by the type that the JSON names.
 */
import { BarChartPanel } from './barchart.tsx';
import { HeatmapPanel } from './heatmap.tsx';
import { LogsPanel } from './logs.tsx';
import type { PanelComponent } from './panel.ts';
import { PieChartPanel } from './piechart.tsx';
import { StateTimelinePanel } from './state-timeline.tsx';
import { TablePanel } from './table.tsx';
import { TextPanel } from './text.tsx';
import { TimeSeriesPanel } from './timeseries.tsx';
import { TracesPanel } from './traces.tsx';
import { BarGaugePanel, GaugePanel, StatPanel } from './values.tsx';

/** Panels that draw frames. The alert list asks by itself and is not among them. */
export const PANELS: Record<string, PanelComponent> = {
  barchart: BarChartPanel,
  bargauge: BarGaugePanel,
  gauge: GaugePanel,
  heatmap: HeatmapPanel,
  logs: LogsPanel,
  piechart: PieChartPanel,
  stat: StatPanel,
  'state-timeline': StateTimelinePanel,
  'status-history': StateTimelinePanel,
  table: TablePanel,
  text: TextPanel,
  timeseries: TimeSeriesPanel,
  traces: TracesPanel,
};

/** Panels that have no query. */
export const WITHOUT_QUERY = ['text', 'alertlist'];
