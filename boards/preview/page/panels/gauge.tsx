/**
 * The dial of the gauge panel. Grafana does not publish its own.
 */
import {
  ThresholdsMode,
  formattedValueToString,
  getActiveThreshold,
  type FieldConfig,
  type FieldDisplay,
  type GrafanaTheme2,
} from '@grafana/data';
import type { MouseEventHandler } from 'react';

interface DialProps {
  value: FieldDisplay;
  width: number;
  height: number;
  theme: GrafanaTheme2;
  showName: boolean;
  showMarkers: boolean;
  showLabels: boolean;
  onClick?: MouseEventHandler<HTMLElement>;
}

/** Half an opening angle below the horizontal on both sides, in degrees. */
const SINK = 30;
const SWEEP = 180 + 2 * SINK;

/** A dial with its value, and with the thresholds as a thin outer band. */
export function GaugeDial({ value, width, height, theme, showName, showMarkers, showLabels, onClick }: DialProps) {
  const { field, display } = value;
  const min = field.min ?? 0;
  const max = field.max ?? 100;
  const nameHeight = showName ? 18 : 0;
  const room = height - nameHeight;
  // The dial is as high as its radius and what sinks below the centre.
  const outer = Math.max(12, Math.min(width / 2, room / (1 + Math.sin((SINK * Math.PI) / 180))) - 4);
  const band = showMarkers ? Math.max(3, outer * 0.06) : 0;
  const barWidth = outer * 0.22;
  const barRadius = outer - band - 2 - barWidth / 2;
  const centre = { x: width / 2, y: outer + 4 };
  const share = Number.isFinite(display.numeric)
    ? Math.min(1, Math.max(0, (display.numeric - min) / (max - min || 1)))
    : 0;
  const text = formattedValueToString(display);
  const fontSize = Math.min(barRadius * 0.5, (barRadius * 2.2) / Math.max(3, text.length));
  return (
    <div onClick={onClick} style={{ width, height, cursor: onClick ? 'pointer' : undefined }}>
      <svg width={width} height={height} role="img" aria-label={`${display.title ?? ''} ${text}`}>
        <Arc
          {...{ centre }}
          radius={barRadius}
          width={barWidth}
          from={0}
          to={1}
          color={theme.colors.background.secondary}
        />
        {share > 0 && (
          <Arc
            {...{ centre }}
            radius={barRadius}
            width={barWidth}
            from={0}
            to={share}
            color={display.color ?? theme.colors.primary.main}
          />
        )}
        {showMarkers &&
          bands(field, min, max, theme).map((each) => (
            <Arc
              key={each.from}
              {...{ centre }}
              radius={outer - band / 2}
              width={band}
              from={each.from}
              to={each.to}
              color={each.color}
            />
          ))}
        {showLabels &&
          bands(field, min, max, theme)
            .slice(1)
            .map((each) => {
              const at = pointAt(centre, outer - band - barWidth - 10, each.from);
              return (
                <text
                  key={each.from}
                  x={at.x}
                  y={at.y}
                  fill={theme.colors.text.secondary}
                  fontSize={10}
                  textAnchor="middle"
                >
                  {Math.round((min + each.from * (max - min)) * 100) / 100}
                </text>
              );
            })}
        <text
          x={centre.x}
          y={centre.y + fontSize * 0.3}
          fill={display.color ?? theme.colors.text.primary}
          fontSize={fontSize}
          fontWeight={500}
          textAnchor="middle"
        >
          {text}
        </text>
        {showName && (
          <text x={centre.x} y={height - 5} fill={theme.colors.text.primary} fontSize={13} textAnchor="middle">
            {display.title}
          </text>
        )}
      </svg>
    </div>
  );
}

interface ArcProps {
  centre: { x: number; y: number };
  radius: number;
  width: number;
  /** Share of the sweep, 0 to 1. */
  from: number;
  to: number;
  color: string;
}

function Arc({ centre, radius, width, from, to, color }: ArcProps) {
  const start = pointAt(centre, radius, from);
  const end = pointAt(centre, radius, to);
  const large = (to - from) * SWEEP > 180 ? 1 : 0;
  return (
    <path
      d={`M ${start.x} ${start.y} A ${radius} ${radius} 0 ${large} 1 ${end.x} ${end.y}`}
      fill="none"
      stroke={color}
      strokeWidth={width}
    />
  );
}

function pointAt(centre: { x: number; y: number }, radius: number, share: number) {
  // Clockwise from the left, since the y axis points down.
  const angle = ((180 - SINK + SWEEP * share) * Math.PI) / 180;
  return { x: centre.x + radius * Math.cos(angle), y: centre.y + radius * Math.sin(angle) };
}

/** The thresholds as shares of the scale. */
function bands(
  field: FieldConfig,
  min: number,
  max: number,
  theme: GrafanaTheme2,
): Array<{ from: number; to: number; color: string }> {
  const steps = field.thresholds?.steps ?? [];
  const isPercent = field.thresholds?.mode === ThresholdsMode.Percentage;
  const shareOf = (value: number) => (isPercent ? value / 100 : (value - min) / (max - min || 1));
  const within = (share: number) => Math.min(1, Math.max(0, share));
  const edges = [
    0,
    ...steps.map((step) => shareOf(step.value ?? -Infinity)).filter((share) => share > 0 && share < 1),
    1,
  ];
  return edges.slice(0, -1).map((from, index) => {
    const to = edges[index + 1] ?? 1;
    const middle = (from + to) / 2;
    const active = getActiveThreshold(isPercent ? middle * 100 : min + middle * (max - min), steps);
    return { from: within(from), to: within(to), color: theme.visualization.getColorByName(active.color) };
  });
}
