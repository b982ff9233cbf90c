/**
 * Exemplars over a graph: a diamond for one measured request, which leads to its trace.
 */
import { dateTimeFormat, type DataFrame } from '@grafana/data';
import { EventsCanvas, Toggletip, type UPlotConfigBuilder } from '@grafana/ui';
import { useCallback, useLayoutEffect, useRef } from 'react';
import type uPlot from 'uplot';
import { dataLink, type Cell, type PrometheusSource } from '../../query/index.ts';
import type { PanelProps } from './panel.ts';

interface Props extends Pick<PanelProps, 'context' | 'theme' | 'timeZone'> {
  config: UPlotConfigBuilder;
  exemplars: DataFrame[];
}

/** Draws exemplars at their time and value, on the first axis. A value beyond the axis stands at its edge. */
export function ExemplarMarks({ config, exemplars, context, theme, timeZone }: Props) {
  const plot = useRef<uPlot | null>(null);
  useLayoutEffect(() => {
    config.addHook('init', (u) => {
      plot.current = u;
    });
  }, [config]);
  const toCoordinates = useCallback(
    (frame: DataFrame, row: number) => {
      const time: unknown = frame.fields.find((field) => field.name === 'Time')?.values[row];
      const value: unknown = frame.fields.find((field) => field.name === 'Value')?.values[row];
      const [xKey, yKey] = config.scaleKeys;
      const u = plot.current;
      const { min, max } = u?.scales[yKey] ?? {};
      if (!u || typeof time !== 'number' || typeof value !== 'number' || typeof min !== 'number' || typeof max !== 'number') {
        return undefined;
      }
      const x = u.valToPos(time, xKey);
      const isInSight = x >= 0 && x <= u.over.clientWidth;
      return isInSight ? { x, y: u.valToPos(Math.min(max, Math.max(min, value)), yKey) } : undefined;
    },
    [config],
  );
  const renderMark = useCallback(
    (frame: DataFrame, row: number) => (
      <Toggletip content={<Details frame={frame} row={row} context={context} timeZone={timeZone} />} placement="auto">
        <button
          type="button"
          aria-label="exemplar"
          data-testid="exemplar"
          style={{
            width: 8,
            height: 8,
            padding: 0,
            margin: '-4px 0 0 -4px',
            border: 0,
            transform: 'rotate(45deg)',
            background: theme.colors.primary.text,
            cursor: 'pointer',
            display: 'block',
          }}
        />
      </Toggletip>
    ),
    [context, theme, timeZone],
  );
  // It has to be there before the plot is, or it never learns of it; so it is drawn without exemplars too.
  return <EventsCanvas id="exemplars" config={config} events={exemplars} renderEventMarker={renderMark} mapEventToXYCoords={toCoordinates} />;
}

function Details({ frame, row, context, timeZone }: { frame: DataFrame; row: number } & Pick<PanelProps, 'context' | 'timeZone'>) {
  const destinations = context.sources.flatMap((source) => (source as PrometheusSource).exemplarTraceIdDestinations ?? []);
  return (
    <table style={{ borderSpacing: '8px 2px', borderCollapse: 'separate' }}>
      <tbody>
        {frame.fields.filter((field) => field.values[row] !== null).map((field) => {
          const value: unknown = field.values[row];
          const destination = destinations.find((each) => each.name === field.name);
          const cell: Cell = { frame, field, rowIndex: row };
          const text = field.name === 'Time' ? dateTimeFormat(Number(value), { timeZone }) : String(value);
          return (
            <tr key={field.name}>
              <th style={{ textAlign: 'left' }}>{field.name}</th>
              <td>{destination ? <a className="external-link" href={dataLink(destination.url, cell, context)}>{destination.urlDisplayLabel ?? text}</a> : text}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
