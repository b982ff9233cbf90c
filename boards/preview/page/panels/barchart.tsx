/**
 * Bar chart: bars for categories, upright or lying, side by side or stacked.
 */
import {
  FieldType,
  formattedValueToString,
  getFieldDisplayName,
  getFieldSeriesColor,
  type DataFrame,
  type Field,
  type GrafanaTheme2,
} from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation, type VizLegendOptions } from '@grafana/schema';
import {
  VizLayout,
  VizLegend,
  VizTooltipContent,
  VizTooltipHeader,
  VizTooltipWrapper,
  type UPlotConfigBuilder,
} from '@grafana/ui';
import { useCallback, useMemo } from 'react';
import type uPlot from 'uplot';
import { optionsOf } from '../defaults.ts';
import { barsOf, span, type Bar, type BarData } from './bar-layout.ts';
import { CanvasPlot } from './canvas-plot.tsx';
import type { PanelProps } from './panel.ts';

interface Options {
  orientation: 'auto' | 'horizontal' | 'vertical';
  showValue: 'auto' | 'always' | 'never';
  stacking: 'none' | 'normal' | 'percent';
  groupWidth: number;
  barWidth: number;
  xField?: string;
  colorByField?: string;
  xTickLabelRotation: number;
  xTickLabelMaxLength?: number;
  legend: VizLegendOptions;
}

/** The bar chart panel. */
export function BarChartPanel({ panel, frames, timeZone, theme, width, height }: PanelProps) {
  const options = optionsOf<Options>(panel);
  const chart = useMemo(() => chartOf(frames, options, theme), [frames, panel, theme]);
  const isLying =
    options.orientation === 'horizontal' || (options.orientation === 'auto' && width / Math.max(1, height) < 1);

  const configure = useCallback(
    (builder: UPlotConfigBuilder) => addAxes(builder, chart, options, isLying, width, theme),
    [chart, isLying, width, theme],
  );
  const draw = useCallback(
    (u: uPlot, ctx: CanvasRenderingContext2D) =>
      chart.bars.forEach((bar) => drawBar(u, ctx, bar, chart, options, isLying, theme)),
    [chart, isLying, theme],
  );
  const tooltip = useCallback(
    (u: uPlot, left: number, top: number) => {
      const category = Math.floor(isLying ? chart.categories.length - u.posToVal(top, 'y') : u.posToVal(left, 'x'));
      const bars = chart.bars.filter((bar) => bar.category === category);
      return bars.length === 0 ? null : (
        <VizTooltipWrapper>
          <VizTooltipHeader item={{ label: '', value: chart.categories[category] ?? '' }} />
          <VizTooltipContent items={bars.map((bar) => ({ label: bar.series, value: bar.text, color: bar.color }))} />
        </VizTooltipWrapper>
      );
    },
    [chart, isLying],
  );
  if (chart.categories.length === 0) {
    return <div style={{ padding: 8 }}>The query returns no column of names with numbers beside it.</div>;
  }
  const { legend } = options;
  const legendElement = legend.showLegend ? (
    <VizLayout.Legend placement={legend.placement}>
      <VizLegend
        placement={legend.placement}
        displayMode={legend.displayMode}
        items={chart.series.map(({ name, color }) => ({ label: name, color, yAxis: 1 }))}
        readonly
      />
    </VizLayout.Legend>
  ) : null;
  return (
    <VizLayout width={width} height={height} legend={legendElement}>
      {(innerWidth, innerHeight) => (
        <CanvasPlot
          width={innerWidth}
          height={innerHeight}
          timeZone={timeZone}
          configure={configure}
          draw={draw}
          tooltip={tooltip}
        />
      )}
    </VizLayout>
  );
}

/** Finds the column of categories and lays bars out. */
function chartOf(frames: DataFrame[], options: Options, theme: GrafanaTheme2): BarData {
  const frame = frames[0];
  const name = (field: Field) => getFieldDisplayName(field, frame, frames);
  const category =
    frame?.fields.find(
      (field) => options.xField !== undefined && (field.name === options.xField || name(field) === options.xField),
    ) ??
    frame?.fields.find((field) => field.type === FieldType.string) ??
    frame?.fields.find((field) => field.type === FieldType.time);
  const values =
    frame?.fields.filter(
      (field) => field !== category && field.type === FieldType.number && !field.config.custom?.hideFrom?.viz,
    ) ?? [];
  if (!frame || !category || values.length === 0) {
    return { categories: [], series: [], bars: [], low: 0, high: 1, format: String };
  }
  const colorField = frame.fields.find(
    (field) => options.colorByField !== undefined && name(field) === options.colorByField,
  );
  return barsOf({
    categories: category.values.map((value: unknown) =>
      category.display ? formattedValueToString(category.display(value)) : String(value),
    ),
    series: values.map((field) => ({
      name: name(field),
      values: field.values as Array<number | null>,
      color: (row) =>
        (colorField ?? field).display?.((colorField ?? field).values[row]).color ??
        getFieldSeriesColor(field, theme).color,
      legendColor: getFieldSeriesColor(field, theme).color,
      text: (value) => (field.display ? formattedValueToString(field.display(value)) : String(value)),
    })),
    stacking: options.stacking,
    groupWidth: options.groupWidth,
    barWidth: options.barWidth,
    min: values[0]?.config.min ?? undefined,
    max: values[0]?.config.max ?? undefined,
  });
}

function addAxes(
  builder: UPlotConfigBuilder,
  chart: BarData,
  options: Options,
  isLying: boolean,
  width: number,
  theme: GrafanaTheme2,
): void {
  const count = chart.categories.length;
  const [categories, values] = isLying ? (['y', 'x'] as const) : (['x', 'y'] as const);
  const upright = { orientation: ScaleOrientation.Vertical, direction: ScaleDirection.Up };
  const lying = { orientation: ScaleOrientation.Horizontal, direction: ScaleDirection.Right };
  builder.addScale({ scaleKey: categories, ...(isLying ? upright : lying), range: () => [0, count] });
  builder.addScale({ scaleKey: values, ...(isLying ? lying : upright), range: () => [chart.low, chart.high] });
  // 0 means that the panel sets no limit; then it is what fits.
  const longest =
    options.xTickLabelMaxLength ||
    Math.floor(isLying ? width / 3 / 7 : width / count / (options.xTickLabelRotation === 0 ? 7 : 2));
  builder.addAxis({
    scaleKey: categories,
    placement: isLying ? AxisPlacement.Left : AxisPlacement.Bottom,
    theme,
    grid: { show: false },
    ticks: { show: false },
    tickLabelRotation: isLying ? 0 : -options.xTickLabelRotation,
    splits: chart.categories.map((_, index) => (isLying ? count - index - 0.5 : index + 0.5)),
    values: () => chart.categories.map((text) => shorten(text, Math.max(4, longest))),
  });
  builder.addAxis({
    scaleKey: values,
    placement: isLying ? AxisPlacement.Bottom : AxisPlacement.Left,
    theme,
    formatValue: (value: number) => chart.format(value),
  });
}

function drawBar(
  u: uPlot,
  ctx: CanvasRenderingContext2D,
  bar: Bar,
  chart: BarData,
  options: Options,
  isLying: boolean,
  theme: GrafanaTheme2,
): void {
  const count = chart.categories.length;
  const across = isLying
    ? (at: number) => u.valToPos(count - at, 'y', true)
    : (at: number) => u.valToPos(at, 'x', true);
  const along = (at: number) => u.valToPos(at, isLying ? 'x' : 'y', true);
  const [start, breadth] = span(across(bar.from), across(bar.to));
  const [base, length] = span(along(bar.low), along(bar.high));
  ctx.fillStyle = bar.color;
  ctx.globalAlpha = 0.8;
  if (isLying) {
    ctx.fillRect(base, start, length, breadth);
  } else {
    ctx.fillRect(start, base, breadth, length);
  }
  ctx.globalAlpha = 1;
  if (options.showValue === 'never') {
    return;
  }
  ctx.font = `${12 * devicePixelRatio}px Inter, Helvetica, Arial, sans-serif`;
  const textWidth = ctx.measureText(bar.text).width;
  const fits = isLying ? breadth > 12 * devicePixelRatio : breadth > textWidth;
  if (options.showValue === 'auto' && !fits) {
    return;
  }
  ctx.fillStyle = theme.colors.text.primary;
  ctx.textAlign = isLying ? 'left' : 'center';
  ctx.textBaseline = isLying ? 'middle' : 'bottom';
  const pad = 4 * devicePixelRatio;
  if (isLying) {
    const x = Math.min(base + length + pad, u.bbox.left + u.bbox.width - textWidth - pad);
    ctx.fillText(bar.text, x, start + breadth / 2);
  } else {
    ctx.fillText(bar.text, start + breadth / 2, Math.max(base - pad / 2, u.bbox.top + 12 * devicePixelRatio));
  }
}

function shorten(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
