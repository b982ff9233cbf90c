/**
 * Panels in Grafana's grid: 24 columns, 30 pixels for a unit of height, 8 pixels between.
 */
import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { Icon, useStyles2 } from '@grafana/ui';
import { useLayoutEffect, useMemo, useRef, useState } from 'react';
import {
  interpolateText,
  panelsOf,
  sectionsOf,
  type Annotation,
  type Dashboard,
  type Panel,
  type QueryContext,
} from '../../query/index.ts';
import { PanelFrame } from '../panel-frame.tsx';
import { layOut, sizeOf } from './layout.ts';

interface Props {
  board: Dashboard;
  /** The one panel to show, over the whole width. */
  viewPanel: number | undefined;
  context: QueryContext;
  annotations: Annotation[];
  timeZone: string;
  viewAddress: (panel: number) => string;
  onSelectRange: (from: number, to: number) => void;
}

/** The board's panels. Those of a collapsed row are neither drawn nor asked for. */
export function Grid({ board, viewPanel, context, annotations, timeZone, viewAddress, onSelectRange }: Props) {
  const styles = useStyles2(getStyles);
  const [width, measure] = useWidth();
  const sections = useMemo(() => sectionsOf(board), [board]);
  const [collapsed, setCollapsed] = useState<ReadonlySet<number>>(
    () => new Set(sections.flatMap(({ row }) => (row?.collapsed ? [row.id] : []))),
  );
  const layout = useMemo(() => layOut(sections, collapsed), [sections, collapsed]);
  const frame = (panel: Panel, size: { width: number; height: number }) => (
    <PanelFrame
      panel={panel}
      context={context}
      annotations={annotations}
      timeZone={timeZone}
      viewAddress={viewAddress(panel.id)}
      onSelectRange={onSelectRange}
      {...size}
    />
  );

  if (viewPanel !== undefined) {
    const panel = panelsOf(board).find(({ id }) => id === viewPanel);
    return (
      <div className={styles.grid} ref={measure}>
        {panel && width > 0
          ? frame(panel, { width, height: Math.max(300, window.innerHeight - 120) })
          : width > 0 && <div>There is no panel {viewPanel}.</div>}
      </div>
    );
  }
  const toggle = (id: number) =>
    setCollapsed((before) =>
      before.has(id) ? new Set([...before].filter((each) => each !== id)) : new Set([...before, id]),
    );
  return (
    <div className={styles.grid} ref={measure} style={{ height: width > 0 ? layout.height + 16 : undefined }}>
      {width > 0 &&
        layout.places.map(({ panel, y }) => {
          const { left, ...size } = sizeOf(panel, width);
          return (
            <div key={panel.id} style={{ position: 'absolute', left: left + 16, top: y + 8, ...size }}>
              {panel.type === 'row' ? (
                <button
                  type="button"
                  className={styles.row}
                  onClick={() => toggle(panel.id)}
                  aria-expanded={!collapsed.has(panel.id)}
                >
                  <Icon name={collapsed.has(panel.id) ? 'angle-right' : 'angle-down'} />
                  {interpolateText(panel.title ?? '', context)}
                  {collapsed.has(panel.id) && (
                    <span className={styles.count}>
                      ({sections.find(({ row }) => row === panel)?.panels.length} panels)
                    </span>
                  )}
                </button>
              ) : (
                frame(panel, size)
              )}
            </div>
          );
        })}
    </div>
  );
}

/** The width within the grid's padding, followed as the window changes. */
function useWidth(): [number, (element: HTMLElement | null) => void] {
  const [width, setWidth] = useState(0);
  const element = useRef<HTMLElement | null>(null);
  useLayoutEffect(() => {
    if (!element.current) {
      return undefined;
    }
    const observer = new ResizeObserver(([entry]) => entry && setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [width, (found) => (element.current = found)];
}

const getStyles = (theme: GrafanaTheme2) => ({
  grid: css({ position: 'relative', padding: theme.spacing(1, 2) }),
  row: css({
    width: '100%',
    height: '100%',
    display: 'flex',
    alignItems: 'center',
    gap: theme.spacing(0.5),
    background: 'none',
    border: 0,
    padding: 0,
    color: theme.colors.text.primary,
    fontSize: theme.typography.h5.fontSize,
    fontWeight: theme.typography.fontWeightMedium,
  }),
  count: css({
    color: theme.colors.text.secondary,
    fontWeight: 'normal',
    fontSize: theme.typography.bodySmall.fontSize,
  }),
});
