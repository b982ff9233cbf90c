/**
 * Heatmap: how many values fell where, over time.
 */
import {
  FieldType,
  getDisplayProcessor,
  getValueFormat,
  formattedValueToString,
  type GrafanaTheme2,
} from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleDistribution, ScaleOrientation } from '@grafana/schema';
import { VizTooltipContent, VizTooltipHeader, VizTooltipWrapper, type UPlotConfigBuilder } from '@grafana/ui';
import * as schemes from 'd3-scale-chromatic';
import { useCallback, useMemo } from 'react';
import type uPlot from 'uplot';
import { optionsOf } from '../defaults.ts';
import { AnnotationMarks } from './annotations.tsx';
import { CanvasPlot } from './canvas-plot.tsx';
import { extent, heatOf, type Heat } from './heatmap-data.ts';
import type { PanelProps } from './panel.ts';

interface Options {
  calculate: boolean;
  color: {
    mode: 'scheme' | 'opacity';
    scheme: string;
    fill: string;
    exponent: number;
    reverse: boolean;
    min?: number;
    max?: number;
  };
  yAxis: { unit?: string; decimals?: number; reverse?: boolean; axisLabel?: string };
  cellGap: number;
  filterValues: { le?: number };
  legend: { show: boolean };
}

/** Room below the plot for the scale of colours. */
const LEGEND_HEIGHT = 34;

/** The heatmap panel. */
export function HeatmapPanel(props: PanelProps) {
  const { panel, frames, annotations, range, timeZone, theme, width, height, onSelectRange } = props;
  const options = optionsOf<Options>(panel);
  const heat = useMemo(() => heatOf(frames), [frames]);
  const least = options.filterValues.le ?? 1e-9;
  const { min, max } = useMemo(() => extent(heat.cells, least), [heat, least]);
  const low = options.color.min ?? min;
  const high = options.color.max ?? max;
  const colorOf = useMemo(() => colorScale(options.color, theme), [options.color, theme]);
  const from = range.from.valueOf();
  const to = range.to.valueOf();
  const format = useCallback((value: unknown) => yText(value, options.yAxis), [options.yAxis]);

  const configure = useCallback(
    (builder: UPlotConfigBuilder) => {
      builder.addScale({
        scaleKey: 'x',
        orientation: ScaleOrientation.Horizontal,
        direction: ScaleDirection.Right,
        isTime: true,
        range: () => [from, to],
      });
      addYAxis(builder, heat, options, theme, format);
      builder.addAxis({
        scaleKey: 'x',
        isTime: true,
        placement: AxisPlacement.Bottom,
        timeZone,
        theme,
        grid: { show: false },
      });
    },
    [heat, options.yAxis, from, to, timeZone, theme, format],
  );
  const draw = useCallback(
    (u: uPlot, ctx: CanvasRenderingContext2D) => {
      for (const cell of heat.cells.filter((each) => each.count > least)) {
        const left = u.valToPos(cell.from, 'x', true);
        const right = u.valToPos(cell.to, 'x', true);
        const top = u.valToPos(cell.high, 'y', true);
        const bottom = u.valToPos(cell.low, 'y', true);
        const gap = Math.min(options.cellGap * devicePixelRatio, (right - left) * 0.25, (bottom - top) * 0.25);
        ctx.fillStyle = colorOf(high === low ? 1 : (cell.count - low) / (high - low));
        ctx.fillRect(left, top, right - left - gap, bottom - top - gap);
      }
    },
    [heat, colorOf, low, high, least, options.cellGap],
  );
  const tooltip = useCallback(
    (u: uPlot, left: number, top: number) => {
      const at = u.posToVal(left, 'x');
      const y = u.posToVal(top, 'y');
      const cell = heat.cells.find((each) => each.from <= at && at < each.to && each.low <= y && y < each.high);
      if (!cell) {
        return null;
      }
      const time = getDisplayProcessor({ field: { type: FieldType.time, config: {} }, theme, timeZone });
      const bucket = heat.rows.length > 0 ? (heat.rows[cell.low] ?? '') : cell.label;
      return (
        <VizTooltipWrapper>
          <VizTooltipHeader item={{ label: '', value: time(cell.from).text }} />
          <VizTooltipContent
            items={[
              { label: 'bucket', value: heat.rows.length > 0 ? `≤ ${format(bucket)}` : bucket },
              { label: 'count', value: String(Math.round(cell.count * 1000) / 1000) },
            ]}
          />
        </VizTooltipWrapper>
      );
    },
    [heat, theme, timeZone, format],
  );

  const over = (config: UPlotConfigBuilder) => (
    <AnnotationMarks config={config} annotations={annotations} theme={theme} timeZone={timeZone} />
  );

  if (options.calculate) {
    return (
      <div style={{ padding: 8 }}>
        The preview draws buckets that the query returns; it does not calculate them (`calculate` is on).
      </div>
    );
  }
  const legendHeight = options.legend.show && Number.isFinite(high) ? LEGEND_HEIGHT : 0;
  return (
    <div style={{ width, height }}>
      <CanvasPlot
        width={width}
        height={height - legendHeight}
        timeZone={timeZone}
        configure={configure}
        draw={draw}
        tooltip={tooltip}
        over={over}
        onSelect={onSelectRange}
      />
      {legendHeight > 0 && <ColorLegend low={low} high={high} colorOf={colorOf} theme={theme} />}
    </div>
  );
}

function addYAxis(
  builder: UPlotConfigBuilder,
  heat: Heat,
  options: Options,
  theme: GrafanaTheme2,
  format: (value: unknown) => string,
): void {
  const direction = options.yAxis.reverse ? ScaleDirection.Down : ScaleDirection.Up;
  const common = { scaleKey: 'y', orientation: ScaleOrientation.Vertical, direction };
  if (heat.rows.length === 0) {
    const bounds = heat.cells
      .flatMap((cell) => [cell.low, cell.high])
      .filter((bound) => bound > 0 && Number.isFinite(bound));
    const lowest = Math.min(...bounds, 1);
    const highest = Math.max(...bounds, lowest * 10);
    builder.addScale({ ...common, distribution: ScaleDistribution.Log, log: 2, range: () => [lowest, highest] });
    builder.addAxis({
      scaleKey: 'y',
      placement: AxisPlacement.Left,
      theme,
      label: options.yAxis.axisLabel,
      formatValue: format,
      grid: { show: false },
    });
    return;
  }
  const count = heat.rows.length;
  // More labels than fit are thinned out: one in two, one in three, …
  const every = Math.ceil(count / 12);
  builder.addScale({ ...common, range: () => [0, count] });
  builder.addAxis({
    scaleKey: 'y',
    placement: AxisPlacement.Left,
    theme,
    label: options.yAxis.axisLabel,
    grid: { show: false },
    // A bucket's name is its upper bound, so it stands at the upper edge.
    splits: heat.rows.map((_, index) => index + 1).filter((edge) => edge % every === 0),
    values: (_u, splits) => splits.map((edge) => format(heat.rows[edge - 1])),
  });
}

function yText(value: unknown, axis: Options['yAxis']): string {
  const number = Number(value);
  if (!Number.isFinite(number) || value === '') {
    return String(value);
  }
  return formattedValueToString(getValueFormat(axis.unit ?? 'short')(number, axis.decimals));
}

/** A colour for a share of the scale. */
function colorScale(color: Options['color'], theme: GrafanaTheme2): (share: number) => string {
  if (color.mode === 'opacity') {
    const fill = theme.visualization.getColorByName(color.fill);
    return (share) =>
      `${fill}${Math.round(255 * Math.min(1, Math.max(0.05, share ** color.exponent)))
        .toString(16)
        .padStart(2, '0')}`;
  }
  const interpolators = schemes as unknown as Record<string, (share: number) => string>;
  const interpolate = interpolators[`interpolate${color.scheme}`] ?? schemes.interpolateOranges;
  // The pale end of a scheme belongs next to the background: schemes start pale, so a dark theme turns them around.
  const turned = theme.isDark !== color.reverse;
  return (share) => {
    const within = Math.min(1, Math.max(0, share));
    return interpolate(turned && !DIVERGING.includes(color.scheme) ? 1 - within : within);
  };
}

const DIVERGING = ['Turbo', 'Viridis', 'Magma', 'Inferno', 'Plasma', 'Warm', 'Cool', 'CubehelixDefault', 'Cividis'];

function ColorLegend({
  low,
  high,
  colorOf,
  theme,
}: {
  low: number;
  high: number;
  colorOf: (share: number) => string;
  theme: GrafanaTheme2;
}) {
  const stops = Array.from({ length: 24 }, (_, index) => colorOf(index / 23)).join(', ');
  const text = (value: number) => formattedValueToString(getValueFormat('short')(value));
  return (
    <div
      style={{
        width: 240,
        margin: '8px 0 0 8px',
        fontSize: theme.typography.bodySmall.fontSize,
        color: theme.colors.text.secondary,
      }}
    >
      <div style={{ height: 8, background: `linear-gradient(90deg, ${stops})` }} />
      <div style={{ display: 'flex', justifyContent: 'space-between' }}>
        <span>{text(low)}</span>
        <span>{text(high)}</span>
      </div>
    </div>
  );
}
