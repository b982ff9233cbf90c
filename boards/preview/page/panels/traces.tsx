/**
 * One trace as a waterfall.
 */
import { css, cx } from '@emotion/css';
import { dateTimeFormat, formattedValueToString, getValueFormat, type GrafanaTheme2 } from '@grafana/data';
import { Icon, getTextColorForBackground, useStyles2 } from '@grafana/ui';
import { useMemo, useState, type CSSProperties } from 'react';
import type { PanelProps } from './panel.ts';
import { traceOf, type Span, type Trace } from './trace-data.ts';

/** The traces panel. */
export function TracesPanel({ frames, width, height, theme, timeZone }: PanelProps) {
  const trace = useMemo(() => traceOf(frames), [frames]);
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const styles = useStyles2(getStyles);
  if (!trace) {
    return (
      <div style={{ padding: 8 }}>
        No trace: the query has to return the columns traceID, spanID, parentSpanID, serviceName, operationName,
        startTime, duration and tags.
      </div>
    );
  }
  const colors = theme.visualization.palette.map((name) => theme.visualization.getColorByName(name));
  const toggle = (id: string) =>
    setClosed((before) =>
      before.has(id) ? new Set([...before].filter((each) => each !== id)) : new Set([...before, id]),
    );
  return (
    <div className={styles.frame} style={{ width, height }} data-testid="trace">
      <div className={styles.head}>
        <strong>
          {trace.spans[0]?.service}: {trace.spans[0]?.operation}
        </strong>
        <span>{trace.id}</span>
        <span>
          {dateTimeFormat(trace.start, { timeZone, format: 'YYYY-MM-DD HH:mm:ss.SSS' })} · {lasting(trace.duration)} ·{' '}
          {trace.spans.length} spans · {trace.services.length} services
        </span>
      </div>
      <Scale trace={trace} />
      {visible(trace.spans, closed).map((span) => (
        <SpanRow
          key={span.id}
          span={span}
          trace={trace}
          color={colors[trace.services.indexOf(span.service) % colors.length] ?? '#808080'}
          isClosed={closed.has(span.id)}
          onToggle={() => toggle(span.id)}
        />
      ))}
    </div>
  );
}

function Scale({ trace }: { trace: Trace }) {
  const styles = useStyles2(getStyles);
  return (
    <div className={styles.row}>
      <div className={styles.name}>Service & operation</div>
      <div className={styles.scale}>
        {[0, 0.25, 0.5, 0.75, 1].map((share) => (
          <span
            key={share}
            style={{ left: `${share * 100}%`, transform: share === 1 ? 'translateX(-100%)' : undefined }}
          >
            {lasting(share * trace.duration)}
          </span>
        ))}
      </div>
    </div>
  );
}

function SpanRow({
  span,
  trace,
  color,
  isClosed,
  onToggle,
}: {
  span: Span;
  trace: Trace;
  color: string;
  isClosed: boolean;
  onToggle: () => void;
}) {
  const [isOpen, setOpen] = useState(false);
  const styles = useStyles2(getStyles);
  const left = trace.duration > 0 ? ((span.start - trace.start) / trace.duration) * 100 : 0;
  const width = trace.duration > 0 ? (span.duration / trace.duration) * 100 : 100;
  return (
    <>
      <div className={styles.row} data-testid="span">
        <div className={styles.name} style={{ paddingLeft: 8 + span.depth * 16 }}>
          <button
            type="button"
            className={styles.toggle}
            onClick={onToggle}
            style={{ visibility: span.hasChildren ? undefined : 'hidden' }}
            aria-label="children"
          >
            <Icon name={isClosed ? 'angle-right' : 'angle-down'} size="sm" />
          </button>
          <span className={styles.stripe} style={{ background: color }} />
          {span.isError && <Icon name="exclamation-circle" className={styles.error} title="error" />}
          <span className={styles.label} title={`${span.service} ${span.operation}`}>
            <strong>{span.service}</strong> {span.operation}
          </span>
        </div>
        <div className={styles.track} onClick={() => setOpen(!isOpen)}>
          <div className={styles.bar} style={{ left: `${left}%`, width: `${width}%`, background: color }} />
          <span className={styles.time} style={placeOfTime(left, width, color)}>
            {lasting(span.duration)}
          </span>
        </div>
      </div>
      {isOpen && (
        <div className={cx(styles.tags)}>
          {span.tags.map((tag) => (
            <div key={tag.key}>
              <span>{tag.key}</span> {tag.value}
            </div>
          ))}
        </div>
      )}
    </>
  );
}

/** The duration stands beside its bar where there is room, and within it where the bar fills the track. */
function placeOfTime(left: number, width: number, color: string): CSSProperties {
  if (left + width < 80) {
    return { left: `calc(${left + width}% + 6px)` };
  }
  return left > 20
    ? { right: `calc(${100 - left}% + 6px)` }
    : { right: `calc(${100 - left - width}% + 6px)`, color: getTextColorForBackground(color) };
}

function visible(spans: Span[], closed: ReadonlySet<string>): Span[] {
  let hiddenBelow = Infinity;
  return spans.filter((span) => {
    if (span.depth > hiddenBelow) {
      return false;
    }
    hiddenBelow = closed.has(span.id) ? span.depth : Infinity;
    return true;
  });
}

function lasting(milliseconds: number): string {
  return formattedValueToString(getValueFormat('ms')(milliseconds, milliseconds < 10 ? 2 : undefined));
}

const getStyles = (theme: GrafanaTheme2) => ({
  frame: css({ overflow: 'auto', fontSize: theme.typography.bodySmall.fontSize }),
  head: css({
    display: 'flex',
    flexWrap: 'wrap',
    columnGap: theme.spacing(2),
    padding: theme.spacing(0.5, 1, 1),
    '& > strong': { fontSize: theme.typography.body.fontSize },
    '& > span': { color: theme.colors.text.secondary },
  }),
  row: css({
    display: 'flex',
    minHeight: 26,
    borderBottom: `1px solid ${theme.colors.border.weak}`,
    '&:hover': { background: theme.colors.action.hover },
  }),
  name: css({
    width: '34%',
    flexShrink: 0,
    display: 'flex',
    alignItems: 'center',
    gap: 6,
    padding: '0 8px',
    borderRight: `1px solid ${theme.colors.border.weak}`,
    overflow: 'hidden',
  }),
  label: css({ overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }),
  toggle: css({ background: 'none', border: 0, padding: 0, color: theme.colors.text.secondary, flexShrink: 0 }),
  stripe: css({ width: 4, alignSelf: 'stretch', margin: '4px 0', flexShrink: 0 }),
  error: css({ color: theme.colors.error.text, flexShrink: 0 }),
  scale: css({
    position: 'relative',
    flexGrow: 1,
    margin: '0 8px',
    color: theme.colors.text.secondary,
    '& > span': { position: 'absolute', top: 4, whiteSpace: 'nowrap' },
  }),
  track: css({ position: 'relative', flexGrow: 1, margin: '0 8px', cursor: 'pointer' }),
  bar: css({ position: 'absolute', top: 6, height: 14, minWidth: 2, borderRadius: 2 }),
  time: css({
    position: 'absolute',
    top: 4,
    color: theme.colors.text.secondary,
    whiteSpace: 'nowrap',
    pointerEvents: 'none',
  }),
  tags: css({
    padding: theme.spacing(1, 1, 1, 4),
    background: theme.colors.background.secondary,
    fontFamily: theme.typography.fontFamilyMonospace,
    overflowWrap: 'anywhere',
    '& span': { color: theme.colors.text.secondary, marginRight: 8 },
  }),
});
