/**
 * Logs: lines with their level, each opening to its labels and links.
 */
import { css } from '@emotion/css';
import { dateTimeFormat, type GrafanaTheme2 } from '@grafana/data';
import { Icon, useStyles2 } from '@grafana/ui';
import { useMemo, useState } from 'react';
import { optionsOf } from '../defaults.ts';
import { logRows, type LogRow } from './logs-data.ts';
import type { PanelProps } from './panel.ts';

interface Options {
  showTime: boolean;
  wrapLogMessage: boolean;
  sortOrder: 'Ascending' | 'Descending';
  enableLogDetails: boolean;
}

/** More lines would make the page slow; a query's LIMIT should be lower. */
const MOST_LINES = 1000;

/** The logs panel. */
export function LogsPanel({ panel, frames, width, height, timeZone }: PanelProps) {
  const options = optionsOf<Options>(panel);
  const rows = useMemo(() => logRows(frames, options.sortOrder === 'Ascending'), [frames, options.sortOrder]);
  const styles = useStyles2(getStyles);
  return (
    <div className={styles.list} style={{ width, height }}>
      {rows.slice(0, MOST_LINES).map((row, index) => (
        <Line key={index} row={row} options={options} timeZone={timeZone} />
      ))}
      {rows.length > MOST_LINES && (
        <div className={styles.more}>{rows.length - MOST_LINES} more lines are not shown</div>
      )}
    </div>
  );
}

function Line({ row, options, timeZone }: { row: LogRow; options: Options; timeZone: string }) {
  const [isOpen, setOpen] = useState(false);
  const styles = useStyles2(getStyles);
  const toggle = options.enableLogDetails ? () => setOpen(!isOpen) : undefined;
  return (
    <>
      <div
        className={styles.line}
        onClick={toggle}
        style={{ cursor: toggle ? 'pointer' : undefined }}
        data-testid="log-line"
      >
        <div className={styles.level} style={{ background: LEVEL_COLORS[row.level] }} title={row.level} />
        {toggle && <Icon name={isOpen ? 'angle-down' : 'angle-right'} size="sm" />}
        {options.showTime && (
          <span className={styles.time}>
            {dateTimeFormat(row.time, { timeZone, format: 'YYYY-MM-DD HH:mm:ss.SSS' })}
          </span>
        )}
        <span className={options.wrapLogMessage ? styles.wrapped : styles.body}>{row.body}</span>
      </div>
      {isOpen && (
        <table className={styles.details}>
          <tbody>
            {row.details.map((detail) => (
              <Detail key={`${detail.field.name} ${detail.key}`} detail={detail} />
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

function Detail({ detail: { key, value, field, row } }: { detail: LogRow['details'][number] }) {
  const links = field.getLinks?.({ valueRowIndex: row }) ?? [];
  return (
    <tr>
      <th>{key}</th>
      <td>
        {value}{' '}
        {links.map((link) => (
          <a key={link.href} className="external-link" href={link.href} target={link.target}>
            {link.title}
          </a>
        ))}
      </td>
    </tr>
  );
}

const LEVEL_COLORS: Record<string, string> = {
  critical: '#705da0',
  error: '#e24d42',
  warning: '#ff780a',
  info: '#6ccf8e',
  debug: '#3274d9',
  trace: '#6ed0e0',
  unknown: '#8e8e8e',
};

const getStyles = (theme: GrafanaTheme2) => ({
  list: css({
    overflow: 'auto',
    fontFamily: theme.typography.fontFamilyMonospace,
    fontSize: theme.typography.bodySmall.fontSize,
  }),
  line: css({
    display: 'flex',
    alignItems: 'flex-start',
    gap: theme.spacing(1),
    padding: '2px 0',
    borderBottom: `1px solid ${theme.colors.border.weak}`,
    '&:hover': { background: theme.colors.action.hover },
  }),
  level: css({ width: 3, alignSelf: 'stretch', flexShrink: 0 }),
  time: css({ color: theme.colors.text.secondary, whiteSpace: 'nowrap' }),
  body: css({ whiteSpace: 'pre' }),
  wrapped: css({ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }),
  more: css({ padding: theme.spacing(1), color: theme.colors.text.secondary }),
  details: css({
    margin: theme.spacing(0.5, 0, 1, 3),
    background: theme.colors.background.secondary,
    'th, td': { padding: '2px 12px', textAlign: 'left', verticalAlign: 'top' },
    th: { color: theme.colors.text.secondary, fontWeight: 'normal', whiteSpace: 'nowrap' },
    td: { overflowWrap: 'anywhere' },
  }),
});
