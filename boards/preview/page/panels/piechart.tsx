/**
 * Pie and donut.
 */
import { formattedValueToString, type DisplayValue, type FieldDisplay } from '@grafana/data';
import type { SingleStatBaseOptions, VizLegendOptions } from '@grafana/schema';
import { Tooltip, VizLayout, VizLegend, getTextColorForBackground } from '@grafana/ui';
import { optionsOf } from '../defaults.ts';
import type { PanelProps } from './panel.ts';
import { displayValues } from './values.tsx';

interface Options extends SingleStatBaseOptions {
  pieType: 'pie' | 'donut';
  displayLabels: Array<'name' | 'value' | 'percent'>;
  legend: VizLegendOptions & { values?: Array<'value' | 'percent'> };
}

interface Slice {
  value: FieldDisplay;
  from: number;
  to: number;
  share: number;
}

/** The pie chart panel. Values below zero and none have no slice. */
export function PieChartPanel(props: PanelProps) {
  const options = optionsOf<Options>(props.panel);
  const slices = slicesOf(displayValues(props, options));
  const { legend } = options;
  const isTable = legend.displayMode === 'table' || (legend.values ?? []).length > 0;
  const legendElement = legend.showLegend ? (
    <VizLayout.Legend placement={legend.placement} maxHeight="40%" maxWidth="60%">
      <VizLegend
        placement={legend.placement}
        displayMode={legend.displayMode}
        readonly
        items={slices.map(({ value, share }) => ({
          label: value.display.title ?? '',
          color: value.display.color,
          yAxis: 1,
          getDisplayValues: () => (isTable ? legendValues(value, share, legend.values ?? []) : []),
        }))}
      />
    </VizLayout.Legend>
  ) : null;
  return (
    <VizLayout width={props.width} height={props.height} legend={legendElement}>
      {(width, height) => (
        <Pie
          slices={slices}
          width={width}
          height={height}
          options={options}
          border={props.theme.colors.background.primary}
        />
      )}
    </VizLayout>
  );
}

function Pie({
  slices,
  width,
  height,
  options,
  border,
}: {
  slices: Slice[];
  width: number;
  height: number;
  options: Options;
  border: string;
}) {
  const radius = Math.max(4, Math.min(width, height) / 2 - 8);
  const inner = options.pieType === 'donut' ? radius * 0.6 : 0;
  return (
    <svg width={width} height={height}>
      <g transform={`translate(${width / 2}, ${height / 2})`}>
        {slices.map((slice) => {
          const color = slice.value.display.color ?? '#808080';
          const middle = ((slice.from + slice.to) / 2) * 2 * Math.PI - Math.PI / 2;
          const at = (radius + inner) / (inner > 0 ? 2 : 1.6);
          const label = labelOf(slice, options.displayLabels);
          return (
            <g key={slice.value.display.title}>
              <Tooltip
                content={`${slice.value.display.title}: ${formattedValueToString(slice.value.display)} (${percent(slice.share)})`}
              >
                <path d={arc(radius, inner, slice.from, slice.to)} fill={color} stroke={border} strokeWidth={1} />
              </Tooltip>
              {label && slice.share > 0.04 && (
                <text
                  x={at * Math.cos(middle)}
                  y={at * Math.sin(middle)}
                  fill={getTextColorForBackground(color)}
                  fontSize={12}
                  textAnchor="middle"
                  pointerEvents="none"
                >
                  {label}
                </text>
              )}
            </g>
          );
        })}
      </g>
    </svg>
  );
}

function slicesOf(values: FieldDisplay[]): Slice[] {
  const positive = values.filter(({ display }) => display.numeric > 0);
  const total = positive.reduce((sum, { display }) => sum + display.numeric, 0);
  let from = 0;
  return positive.map((value) => {
    const share = value.display.numeric / total;
    const slice = { value, from, to: from + share, share };
    from += share;
    return slice;
  });
}

function arc(radius: number, inner: number, from: number, to: number): string {
  // A full circle has no arc of its own: its ends coincide.
  const end = Math.min(to, from + 0.9999);
  const at = (share: number, distance: number) => {
    const angle = share * 2 * Math.PI - Math.PI / 2;
    return `${distance * Math.cos(angle)} ${distance * Math.sin(angle)}`;
  };
  const large = end - from > 0.5 ? 1 : 0;
  return `M ${at(from, radius)} A ${radius} ${radius} 0 ${large} 1 ${at(end, radius)} L ${at(end, inner)} A ${inner} ${inner} 0 ${large} 0 ${at(from, inner)} Z`;
}

function labelOf({ value, share }: Slice, wanted: Options['displayLabels']): string {
  const parts = {
    name: value.display.title ?? '',
    value: formattedValueToString(value.display),
    percent: percent(share),
  };
  return wanted.map((each) => parts[each]).join(' ');
}

function legendValues(value: FieldDisplay, share: number, wanted: string[]): DisplayValue[] {
  const all: Record<string, DisplayValue> = {
    value: { ...value.display, title: 'Value' },
    percent: { numeric: share, text: percent(share), title: 'Percent' },
  };
  return wanted.flatMap((each) => all[each] ?? []);
}

function percent(share: number): string {
  return `${Math.round(share * 100)}%`;
}
