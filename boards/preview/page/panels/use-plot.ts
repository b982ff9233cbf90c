/**
 * The plot that a chart draws, for what stands over it.
 */
import type { UPlotConfigBuilder } from '@grafana/ui';
import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import type uPlot from 'uplot';

/**
 * The plot once it has drawn, and again whenever it draws, so that marks follow its scales.
 *
 * It has to be called before the plot is made, in a component that is there from the start: hooks of the configuration
 * are read only then.
 *
 * @param draw is called with each drawing, in the plot's own canvas
 */
export function usePlot(config: UPlotConfigBuilder, draw?: (plot: uPlot) => void): uPlot | null {
  const [drawn, setDrawn] = useState<{ plot: uPlot } | null>(null);
  const current = useRef(draw);
  current.current = draw;
  const isThere = useRef(true);
  useEffect(() => {
    isThere.current = true;
    return () => {
      isThere.current = false;
    };
  }, []);
  useLayoutEffect(() => {
    config.addHook('draw', (plot) => {
      current.current?.(plot);
      // The plot draws while React may be rendering; the marks follow right after.
      queueMicrotask(() => isThere.current && setDrawn({ plot }));
    });
  }, [config]);
  return drawn?.plot ?? null;
}
