/**
 * Exemplars over a graph: a diamond for one measured request, which leads to its trace.
 */
import { dateTimeFormat, type DataFrame } from '@grafana/data';
import { Toggletip, type UPlotConfigBuilder } from '@grafana/ui';
import type uPlot from 'uplot';
import { dataLink, type Cell, type PrometheusSource } from '../../query/index.ts';
import type { PanelProps } from './panel.ts';
import { usePlot } from './use-plot.ts';

interface Props extends Pick<PanelProps, 'context' | 'theme' | 'timeZone'> {
  config: UPlotConfigBuilder;
  exemplars: DataFrame[];
}

/** Draws exemplars at their time and value, on the first axis. A value beyond the axis stands at its edge. */
export function ExemplarMarks({ config, exemplars, context, theme, timeZone }: Props) {
  const u = usePlot(config);
  if (!u) {
    return null;
  }
  const left = u.bbox.left / devicePixelRatio;
  const top = u.bbox.top / devicePixelRatio;
  return (
    <>
      {exemplars.flatMap((frame) =>
        Array.from({ length: frame.length }, (_, row) => {
          const place = placeOf(u, config, frame, row);
          return place ? (
            <div
              key={row}
              style={{ position: 'absolute', left: left + place.x - 4, top: top + place.y - 4, zIndex: 1 }}
            >
              <Toggletip
                content={<Details frame={frame} row={row} context={context} timeZone={timeZone} />}
                placement="auto"
              >
                <button
                  type="button"
                  aria-label="exemplar"
                  data-testid="exemplar"
                  style={{
                    width: 8,
                    height: 8,
                    padding: 0,
                    border: 0,
                    transform: 'rotate(45deg)',
                    background: theme.colors.primary.text,
                    cursor: 'pointer',
                    display: 'block',
                  }}
                />
              </Toggletip>
            </div>
          ) : null;
        }),
      )}
    </>
  );
}

/** Where an exemplar stands within the plot's area, in CSS pixels; nowhere, when its time is out of sight. */
function placeOf(
  u: uPlot,
  config: UPlotConfigBuilder,
  frame: DataFrame,
  row: number,
): { x: number; y: number } | undefined {
  const time: unknown = frame.fields.find((field) => field.name === 'Time')?.values[row];
  const value: unknown = frame.fields.find((field) => field.name === 'Value')?.values[row];
  const [xKey, yKey] = config.scaleKeys;
  const { min, max } = u.scales[yKey] ?? {};
  if (typeof time !== 'number' || typeof value !== 'number' || typeof min !== 'number' || typeof max !== 'number') {
    return undefined;
  }
  const x = u.valToPos(time, xKey);
  const isInSight = x >= 0 && x <= u.over.clientWidth;
  return isInSight ? { x, y: u.valToPos(Math.min(max, Math.max(min, value)), yKey) } : undefined;
}

function Details({
  frame,
  row,
  context,
  timeZone,
}: { frame: DataFrame; row: number } & Pick<PanelProps, 'context' | 'timeZone'>) {
  const destinations = context.sources.flatMap(
    (source) => (source as PrometheusSource).exemplarTraceIdDestinations ?? [],
  );
  return (
    <table style={{ borderSpacing: '8px 2px', borderCollapse: 'separate' }}>
      <tbody>
        {frame.fields
          .filter((field) => field.values[row] !== null)
          .map((field) => {
            const value: unknown = field.values[row];
            const destination = destinations.find((each) => each.name === field.name);
            const cell: Cell = { frame, field, rowIndex: row };
            const text = field.name === 'Time' ? dateTimeFormat(Number(value), { timeZone }) : String(value);
            return (
              <tr key={field.name}>
                <th style={{ textAlign: 'left' }}>{field.name}</th>
                <td>
                  {destination ? (
                    <a className="external-link" href={dataLink(destination.url, cell, context)}>
                      {destination.urlDisplayLabel ?? text}
                    </a>
                  ) : (
                    text
                  )}
                </td>
              </tr>
            );
          })}
      </tbody>
    </table>
  );
}
