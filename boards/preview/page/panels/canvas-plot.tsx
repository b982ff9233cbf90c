/**
 * A plot with Grafana's axes whose area is drawn by hand, for the panels that Grafana does not publish.
 */
import { Portal, UPlotChart, UPlotConfigBuilder, VizTooltipContainer } from '@grafana/ui';
import { useLayoutEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import type uPlot from 'uplot';

/** What is drawn and how. Changing it makes the plot anew. */
export interface CanvasPlotProps {
  width: number;
  height: number;
  timeZone: string;
  /** Adds scales and axes; `x` is the scale of the horizontal axis. */
  configure: (builder: UPlotConfigBuilder) => void;
  /** Draws into the plot's area, in canvas pixels; the area is clipped. */
  draw: (plot: uPlot, ctx: CanvasRenderingContext2D) => void;
  /** What the tooltip says at a point of the area, in CSS pixels. */
  tooltip?: (plot: uPlot, left: number, top: number) => ReactNode;
  /** What stands over the plot; it has to be there from the start. */
  over?: (config: UPlotConfigBuilder) => ReactNode;
  /** Called with the ends of a dragged range on the scale `x`. */
  onSelect?: (from: number, to: number) => void;
}

/** The plot; everything in it is remade when `configure`, `draw` or `tooltip` change. */
export function CanvasPlot({ width, height, timeZone, configure, draw, tooltip, over, onSelect }: CanvasPlotProps) {
  const [hover, setHover] = useState<{ x: number; y: number; content: ReactNode } | null>(null);
  const current = useRef({ draw, tooltip, onSelect });
  current.current = { draw, tooltip, onSelect };
  const plotRef = useRef<uPlot | null>(null);

  const config = useMemo(() => {
    const builder = new UPlotConfigBuilder(timeZone);
    configure(builder);
    builder.setCursor({
      x: false,
      y: false,
      points: { show: false },
      drag: { x: Boolean(current.current.onSelect), y: false, setScale: false },
    });
    builder.addHook('draw', (u) => {
      u.ctx.save();
      u.ctx.beginPath();
      u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
      u.ctx.clip();
      current.current.draw(u, u.ctx);
      u.ctx.restore();
    });
    builder.addHook('setCursor', (u) => {
      const { left = -1, top = -1 } = u.cursor;
      const content = left >= 0 && top >= 0 ? current.current.tooltip?.(u, left, top) : null;
      const area = u.over.getBoundingClientRect();
      setHover(content ? { x: area.left + left, y: area.top + top, content } : null);
    });
    builder.addHook('setSelect', (u) => {
      const { left, width: selected } = u.select;
      if (selected > 2) {
        current.current.onSelect?.(u.posToVal(left, 'x'), u.posToVal(left + selected, 'x'));
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }
    });
    builder.setPrepData(() => [[0, 1]]);
    return builder;
  }, [configure, timeZone]);

  useLayoutEffect(() => {
    plotRef.current?.redraw(false, false);
  }, [draw]);

  return (
    <div style={{ width, height }} onMouseLeave={() => setHover(null)}>
      <UPlotChart config={config} data={DUMMY} width={width} height={height} plotRef={(u) => (plotRef.current = u)}>
        {over?.(config)}
      </UPlotChart>
      {hover && (
        <Portal>
          <VizTooltipContainer position={{ x: hover.x, y: hover.y }} offset={{ x: 10, y: 10 }}>
            {hover.content}
          </VizTooltipContainer>
        </Portal>
      )}
    </div>
  );
}

/** The plot wants data; what is drawn comes from `draw`. */
const DUMMY: uPlot.AlignedData = [[0, 1]];
