/**
 * One board: its header, controls and panels.
 */
import { DashboardCursorSync, EventBusSrv } from '@grafana/data';
import { PanelContextProvider, RefreshPicker, TimeRangePicker } from '@grafana/ui';
import { useMemo } from 'react';
import { annotationQueries, formatAddress } from '../../query/index.ts';
import type { PageConfig } from '../api.ts';
import { fromTimeRange, moved, toTimeRange } from '../time-range.ts';
import { Controls } from './controls.tsx';
import { Grid } from './grid.tsx';
import { Header } from './header.tsx';
import { Problem } from './problem.tsx';
import { useBoard } from './use-board.ts';

interface Props {
  uid: string;
  config: PageConfig;
  theme: 'dark' | 'light';
  onToggleTheme: () => void;
}

/** A board as the address asks for it. */
export function BoardPage({ uid, config, theme, onToggleTheme }: Props) {
  const { board, context, annotations, problems, state, change, refresh, failure } = useBoard(uid, config.sources);
  const eventBus = useMemo(() => new EventBusSrv(), []);
  if (failure) {
    return <Problem text={failure.message} />;
  }
  if (!board || !context) {
    return <div data-board-state="loading" />;
  }
  const timeZone = board.timezone === 'utc' ? 'utc' : 'browser';
  const sync = () =>
    board.graphTooltip === 2
      ? DashboardCursorSync.Tooltip
      : board.graphTooltip === 1
        ? DashboardCursorSync.Crosshair
        : DashboardCursorSync.Off;
  const viewAddress = (panel?: number) =>
    `/d/${uid}?${formatAddress({ ...state, theme, ...(panel === undefined ? { viewPanel: undefined } : { viewPanel: panel }) }, context.variables)}`;
  return (
    <PanelContextProvider value={{ eventsScope: uid, eventBus, sync }}>
      <div data-board-state="ready" data-board-uid={uid}>
        {!state.kiosk && (
          <Header title={board.title} tags={board.tags} onToggleTheme={onToggleTheme}>
            {state.viewPanel !== undefined && <a href={viewAddress()}>Back to the board</a>}
            <TimeRangePicker
              value={toTimeRange(context.range)}
              timeZone={timeZone}
              onChange={(value) => change(fromTimeRange(value))}
              onChangeTimeZone={() => undefined}
              onMoveBackward={() => change(moved(context.range, -1))}
              onMoveForward={() => change(moved(context.range, 1))}
              onZoom={() => change(moved(context.range, 0))}
              isOnCanvas
            />
            <RefreshPicker
              value={state.refresh ?? ''}
              onRefresh={refresh}
              onIntervalChanged={(interval) => change({ refresh: interval })}
              isOnCanvas
            />
          </Header>
        )}
        {!state.kiosk && (
          <Controls
            board={board}
            boards={config.boards}
            context={context}
            annotationQueries={annotationQueries(board)}
            shown={state.annotations}
            onAnnotation={(name, isShown) => change({ annotations: { ...state.annotations, [name]: isShown } })}
            onVariable={(name, values) => change({ chosen: { ...state.chosen, [name]: values } })}
          />
        )}
        {problems.length > 0 && <Problem severity="warning" text={problems.join('\n')} />}
        <Grid
          board={board}
          viewPanel={state.viewPanel}
          context={context}
          annotations={annotations}
          timeZone={timeZone}
          viewAddress={viewAddress}
          onSelectRange={(from, to) => change({ from: String(Math.round(from)), to: String(Math.round(to)) })}
        />
      </div>
    </PanelContextProvider>
  );
}
