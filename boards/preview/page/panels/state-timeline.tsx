/**
 * State timeline and status history: a row for each series, coloured by its state.
 */
import {
  FieldType,
  getFieldDisplayName,
  getDisplayProcessor,
  type DataFrame,
  type DisplayValue,
  type Field,
} from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation, type VizLegendOptions } from '@grafana/schema';
import {
  VizLayout,
  VizLegend,
  VizTooltipContent,
  VizTooltipHeader,
  VizTooltipWrapper,
  getTextColorForBackground,
  type UPlotConfigBuilder,
  type VizLegendItem,
} from '@grafana/ui';
import { useCallback, useMemo } from 'react';
import type uPlot from 'uplot';
import { optionsOf } from '../defaults.ts';
import { AnnotationMarks } from './annotations.tsx';
import { CanvasPlot } from './canvas-plot.tsx';
import type { PanelProps } from './panel.ts';
import { usualStep } from './time-steps.ts';

interface Options {
  showValue: 'auto' | 'always' | 'never';
  mergeValues: boolean;
  rowHeight: number;
  alignValue: 'left' | 'center' | 'right';
  legend: VizLegendOptions;
}

/** One state that lasted. */
interface Stretch {
  from: number;
  to: number;
  value: unknown;
  display: DisplayValue;
}

interface Row {
  name: string;
  stretches: Stretch[];
}

/** The state timeline panel; the status history is the same with `mergeValues` off. */
export function StateTimelinePanel({
  panel,
  frames,
  annotations,
  range,
  timeZone,
  theme,
  width,
  height,
  onSelectRange,
}: PanelProps) {
  const options = optionsOf<Options>(panel);
  const from = range.from.valueOf();
  const to = range.to.valueOf();
  const rows = useMemo(() => rowsOf(frames, to, options.mergeValues), [frames, to, options.mergeValues]);
  const opacity = Number(panel.fieldConfig?.defaults.custom?.['fillOpacity'] ?? 70) / 100;

  const configure = useCallback(
    (builder: UPlotConfigBuilder) => {
      const count = Math.max(1, rows.length);
      builder.addScale({
        scaleKey: 'x',
        orientation: ScaleOrientation.Horizontal,
        direction: ScaleDirection.Right,
        isTime: true,
        range: () => [from, to],
      });
      builder.addScale({
        scaleKey: 'y',
        orientation: ScaleOrientation.Vertical,
        direction: ScaleDirection.Up,
        range: () => [0, count],
      });
      builder.addAxis({
        scaleKey: 'x',
        isTime: true,
        placement: AxisPlacement.Bottom,
        timeZone,
        theme,
        grid: { show: true },
      });
      builder.addAxis({
        scaleKey: 'y',
        placement: AxisPlacement.Left,
        theme,
        grid: { show: false },
        ticks: { show: false },
        splits: rows.map((_, index) => count - index - 0.5),
        values: () => rows.map((row) => row.name),
      });
    },
    [rows, from, to, timeZone, theme],
  );
  const draw = useCallback(
    (u: uPlot, ctx: CanvasRenderingContext2D) =>
      rows.forEach((row, index) => drawRow(u, ctx, row, rows.length - index - 0.5, options, opacity)),
    [rows, options, opacity],
  );
  const tooltip = useCallback(
    (u: uPlot, left: number, top: number) => {
      const row = rows[Math.min(rows.length - 1, rows.length - 1 - Math.floor(u.posToVal(top, 'y')))];
      const at = u.posToVal(left, 'x');
      const stretch = row?.stretches.find((each) => each.from <= at && at < each.to);
      if (!row || !stretch) {
        return null;
      }
      const time = getDisplayProcessor({ field: { type: FieldType.time, config: {} }, theme, timeZone });
      return (
        <VizTooltipWrapper>
          <VizTooltipHeader item={{ label: '', value: `${time(stretch.from).text} – ${time(stretch.to).text}` }} />
          <VizTooltipContent items={[{ label: row.name, value: stateText(stretch), color: stretch.display.color }]} />
        </VizTooltipWrapper>
      );
    },
    [rows, theme, timeZone],
  );
  const over = (config: UPlotConfigBuilder) => (
    <AnnotationMarks config={config} annotations={annotations} theme={theme} timeZone={timeZone} />
  );
  const legend = options.legend.showLegend ? (
    <VizLayout.Legend placement={options.legend.placement}>
      <VizLegend
        placement={options.legend.placement}
        items={legendItems(rows)}
        displayMode={options.legend.displayMode}
        readonly
      />
    </VizLayout.Legend>
  ) : null;

  if (rows.length === 0) {
    return <div style={{ padding: 8 }}>The query returns no time column with states beside it.</div>;
  }
  return (
    <VizLayout width={width} height={height} legend={legend}>
      {(innerWidth, innerHeight) => (
        <CanvasPlot
          width={innerWidth}
          height={innerHeight}
          timeZone={timeZone}
          configure={configure}
          draw={draw}
          tooltip={tooltip}
          over={over}
          onSelect={onSelectRange}
        />
      )}
    </VizLayout>
  );
}

function rowsOf(frames: DataFrame[], end: number, merge: boolean): Row[] {
  return frames.flatMap((frame) => {
    const time = frame.fields.find((field) => field.type === FieldType.time);
    if (!time) {
      return [];
    }
    const values = frame.fields.filter((field) => field.type !== FieldType.time && field.type !== FieldType.other);
    return values.map((field) => ({
      name: getFieldDisplayName(field, frame, frames),
      stretches: stretchesOf(field, time, end, merge),
    }));
  });
}

function stretchesOf(field: Field, time: Field, end: number, merge: boolean): Stretch[] {
  const times = time.values as number[];
  const step = usualStep(times, time.config.interval);
  const found: Stretch[] = [];
  times.forEach((from, index) => {
    const value: unknown = field.values[index];
    if (value === null || value === undefined) {
      return;
    }
    const next = times[index + 1];
    const to =
      next === undefined
        ? Math.min(Math.max(end, from), merge ? end : from + step)
        : merge
          ? next
          : Math.min(next, from + step);
    const last = found[found.length - 1];
    if (merge && last && last.to === from && last.value === value) {
      last.to = to;
    } else {
      found.push({ from, to, value, display: field.display?.(value) ?? { text: String(value), numeric: NaN } });
    }
  });
  return found;
}

function drawRow(
  u: uPlot,
  ctx: CanvasRenderingContext2D,
  row: Row,
  middle: number,
  options: Options,
  opacity: number,
): void {
  const top = u.valToPos(middle + options.rowHeight / 2, 'y', true);
  const height = u.valToPos(middle - options.rowHeight / 2, 'y', true) - top;
  for (const stretch of row.stretches) {
    const left = Math.max(u.bbox.left, u.valToPos(stretch.from, 'x', true));
    const right = u.valToPos(stretch.to, 'x', true);
    const gap = options.mergeValues ? 0 : Math.min(2, (right - left) * 0.1);
    const color = stretch.display.color ?? '#808080';
    ctx.globalAlpha = opacity;
    ctx.fillStyle = color;
    ctx.fillRect(left + gap, top, Math.max(1, right - left - 2 * gap), height);
    ctx.globalAlpha = 1;
    drawText(ctx, stateText(stretch), left, right, top + height / 2, color, options, opacity);
  }
}

function drawText(
  ctx: CanvasRenderingContext2D,
  text: string,
  left: number,
  right: number,
  y: number,
  color: string,
  options: Options,
  opacity: number,
): void {
  if (options.showValue === 'never' || text === '') {
    return;
  }
  const size = 12 * devicePixelRatio;
  ctx.font = `${size}px Inter, Helvetica, Arial, sans-serif`;
  const padding = 6 * devicePixelRatio;
  if (options.showValue === 'auto' && ctx.measureText(text).width + 2 * padding > right - left) {
    return;
  }
  ctx.textBaseline = 'middle';
  ctx.textAlign = options.alignValue;
  ctx.fillStyle = opacity < 0.4 ? color : getTextColorForBackground(color);
  const x = { left: left + padding, center: (left + right) / 2, right: right - padding }[options.alignValue];
  ctx.fillText(text, x, y);
}

function stateText({ display }: Stretch): string {
  return `${display.prefix ?? ''}${display.text}${display.suffix ?? ''}`;
}

/** One entry for each state that occurs. */
function legendItems(rows: Row[]): VizLegendItem[] {
  const byText = new Map<string, VizLegendItem>();
  for (const stretch of rows.flatMap((row) => row.stretches)) {
    byText.set(stateText(stretch), { label: stateText(stretch), color: stretch.display.color ?? '#808080', yAxis: 1 });
  }
  return [...byText.values()].slice(0, 20);
}
