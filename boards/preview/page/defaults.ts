/**
 * What a panel's options and fields are when the JSON says nothing, since in Grafana each panel plugin fills these in.
 */
import type { FieldConfigSource } from '@grafana/data';
import type { Panel } from '../query/index.ts';

interface Defaults {
  color: string;
  custom?: Record<string, unknown>;
  options?: Record<string, unknown>;
}

const LEGEND = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] };
const REDUCE = { values: false, calcs: ['lastNotNull'], fields: '' };

const GRAPH = {
  drawStyle: 'line',
  lineWidth: 1,
  lineInterpolation: 'linear',
  fillOpacity: 0,
  gradientMode: 'none',
  showPoints: 'auto',
  pointSize: 5,
  spanNulls: false,
  axisPlacement: 'auto',
  barAlignment: 0,
  barWidthFactor: 0.6,
  stacking: { mode: 'none', group: 'A' },
};

const BY_TYPE: Record<string, Defaults> = {
  timeseries: {
    color: 'palette-classic',
    custom: GRAPH,
    options: { legend: LEGEND, tooltip: { mode: 'single', sort: 'none' } },
  },
  stat: {
    color: 'thresholds',
    options: {
      reduceOptions: REDUCE,
      orientation: 'auto',
      textMode: 'auto',
      colorMode: 'value',
      graphMode: 'area',
      justifyMode: 'auto',
      wideLayout: true,
    },
  },
  gauge: {
    color: 'thresholds',
    options: { reduceOptions: REDUCE, orientation: 'auto', showThresholdMarkers: true, showThresholdLabels: false },
  },
  bargauge: {
    color: 'thresholds',
    options: {
      reduceOptions: REDUCE,
      orientation: 'auto',
      displayMode: 'gradient',
      valueMode: 'color',
      namePlacement: 'auto',
      showUnfilled: true,
      minVizWidth: 8,
      minVizHeight: 16,
      maxVizHeight: 300,
    },
  },
  table: {
    color: 'thresholds',
    custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
    options: { showHeader: true, cellHeight: 'sm' },
  },
  'state-timeline': {
    color: 'thresholds',
    custom: { lineWidth: 0, fillOpacity: 70 },
    options: { showValue: 'auto', mergeValues: true, rowHeight: 0.9, alignValue: 'left', legend: LEGEND },
  },
  'status-history': {
    color: 'thresholds',
    custom: { lineWidth: 1, fillOpacity: 70 },
    options: { showValue: 'auto', mergeValues: false, rowHeight: 0.9, colWidth: 0.9, legend: LEGEND },
  },
  barchart: {
    color: 'palette-classic',
    custom: { lineWidth: 1, fillOpacity: 80 },
    options: {
      orientation: 'auto',
      showValue: 'auto',
      stacking: 'none',
      groupWidth: 0.7,
      barWidth: 0.97,
      xTickLabelRotation: 0,
      legend: LEGEND,
    },
  },
  piechart: {
    color: 'palette-classic',
    options: {
      reduceOptions: REDUCE,
      pieType: 'pie',
      displayLabels: [],
      legend: { ...LEGEND, placement: 'right', values: [] },
    },
  },
  heatmap: {
    color: 'thresholds',
    options: {
      calculate: false,
      color: { mode: 'scheme', scheme: 'Oranges', steps: 64, exponent: 0.5, fill: 'dark-orange', reverse: false },
      yAxis: {},
      cellGap: 1,
      filterValues: { le: 1e-9 },
      legend: { show: true },
    },
  },
  logs: {
    color: 'thresholds',
    options: { showTime: true, wrapLogMessage: true, sortOrder: 'Descending', enableLogDetails: true },
  },
};

/** A panel's field configuration, completed. */
export function fieldConfigOf(panel: Panel): FieldConfigSource {
  const defaults = BY_TYPE[panel.type];
  const given = panel.fieldConfig;
  return {
    defaults: {
      color: { mode: defaults?.color ?? 'palette-classic' },
      thresholds: {
        mode: 'absolute' as never,
        steps: [
          { value: -Infinity, color: 'green' },
          { value: 80, color: 'red' },
        ],
      },
      ...given?.defaults,
      custom: { ...defaults?.custom, ...(given?.defaults.custom as Record<string, unknown> | undefined) },
    },
    overrides: given?.overrides ?? [],
  };
}

/** A panel's options, completed; objects of the first level are merged. */
export function optionsOf<T>(panel: Panel): T {
  const merged: Record<string, unknown> = { ...BY_TYPE[panel.type]?.options };
  for (const [key, value] of Object.entries(panel.options ?? {})) {
    const base = merged[key];
    merged[key] = isPlain(base) && isPlain(value) ? { ...base, ...value } : value;
  }
  return merged as T;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
