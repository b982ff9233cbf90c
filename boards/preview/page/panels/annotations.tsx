/**
 * Annotations over a graph: a dashed line for a moment, a shaded stretch for a region, a triangle that tells the rest.
 */
import { dateTimeFormat, type GrafanaTheme2 } from '@grafana/data';
import { Tooltip, type UPlotConfigBuilder } from '@grafana/ui';
import { useLayoutEffect } from 'react';
import type uPlot from 'uplot';
import type { Annotation } from '../../query/index.ts';
import { usePlot } from './use-plot.ts';

interface Props {
  config: UPlotConfigBuilder;
  annotations: Annotation[];
  theme: GrafanaTheme2;
  timeZone: string;
}

/** Draws into the plot and puts a marker below it for each annotation in sight. */
export function AnnotationMarks({ config, annotations, theme, timeZone }: Props) {
  const u = usePlot(config, (plot) => draw(plot, annotations, theme));
  useLayoutEffect(() => {
    u?.redraw(false, false);
  }, [annotations]);
  if (!u || annotations.length === 0) {
    return null;
  }
  const left = u.bbox.left / devicePixelRatio;
  const bottom = (u.bbox.top + u.bbox.height) / devicePixelRatio;
  return (
    <>
      {annotations
        .filter((each) => isInSight(u, each))
        .map((annotation, index) => {
          const x = Math.max(0, u.valToPos(annotation.time, 'x'));
          const color = theme.visualization.getColorByName(annotation.color);
          return (
            <Tooltip key={index} content={<Text annotation={annotation} timeZone={timeZone} />}>
              <div
                data-testid="annotation"
                style={{
                  position: 'absolute',
                  left: left + x - 5,
                  top: bottom,
                  borderLeft: '5px solid transparent',
                  borderRight: '5px solid transparent',
                  borderBottom: `6px solid ${color}`,
                  cursor: 'help',
                  zIndex: 1,
                }}
              />
            </Tooltip>
          );
        })}
    </>
  );
}

function Text({ annotation, timeZone }: { annotation: Annotation; timeZone: string }) {
  const at = (time: number) => dateTimeFormat(time, { timeZone });
  return (
    <div>
      <div>
        <strong>{annotation.title ?? annotation.source}</strong>
      </div>
      <div>{annotation.timeEnd ? `${at(annotation.time)} to ${at(annotation.timeEnd)}` : at(annotation.time)}</div>
      <div style={{ whiteSpace: 'pre-wrap' }}>{annotation.text}</div>
      {annotation.tags.length > 0 && <em>{annotation.tags.join(', ')}</em>}
    </div>
  );
}

function isInSight(u: uPlot, { time, timeEnd }: Annotation): boolean {
  const { min, max } = u.scales['x'] ?? {};
  return typeof min === 'number' && typeof max === 'number' && time <= max && (timeEnd ?? time) >= min;
}

function draw(u: uPlot, annotations: Annotation[], theme: GrafanaTheme2): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const annotation of annotations.filter((each) => isInSight(u, each))) {
    const color = theme.visualization.getColorByName(annotation.color);
    const x = u.valToPos(annotation.time, 'x', true);
    line(ctx, x, bbox, color);
    if (annotation.timeEnd) {
      const end = u.valToPos(annotation.timeEnd, 'x', true);
      ctx.globalAlpha = 0.1;
      ctx.fillStyle = color;
      ctx.fillRect(x, bbox.top, end - x, bbox.height);
      ctx.globalAlpha = 1;
      line(ctx, end, bbox, color);
    }
  }
  ctx.restore();
}

function line(ctx: CanvasRenderingContext2D, x: number, bbox: uPlot.BBox, color: string): void {
  ctx.strokeStyle = color;
  ctx.lineWidth = devicePixelRatio * 2;
  ctx.setLineDash([5 * devicePixelRatio, 5 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.setLineDash([]);
}
