/**
 * One panel: its frame, its queries, and what it shows while there is nothing to draw.
 */
import { LoadingState, renderMarkdown, type DataFrame } from '@grafana/data';
import { PanelChrome, ErrorBoundary, useTheme2, Tooltip, Icon, Menu } from '@grafana/ui';
import { useEffect, useMemo, useRef, useState } from 'react';
import {
  boardLink,
  interpolateText,
  panelName,
  rangeOf,
  runPanel,
  showsAnnotation,
  type Annotation,
  type Panel,
  type QueryContext,
  type QueryError,
} from '../query/index.ts';
import { isEmpty, preparePanelData, replaceFunction } from './data.ts';
import { AlertListPanel } from './panels/alertlist.tsx';
import { PANELS, WITHOUT_QUERY } from './panels/index.ts';
import { toTimeRange } from './time-range.ts';

/** What a panel is in; `data-panel-state` of its element, for tests and pictures. */
export type PanelState = 'loading' | 'done' | 'empty' | 'error' | 'unknown';

interface Props {
  panel: Panel;
  context: QueryContext;
  annotations: Annotation[];
  width: number;
  height: number;
  timeZone: string;
  /** Address of the panel alone. */
  viewAddress: string;
  onSelectRange: (from: number, to: number) => void;
}

interface Drawn {
  frames: DataFrame[];
  exemplars: DataFrame[];
  errors: QueryError[];
  context: QueryContext;
}

/** A panel in its frame. While it is refreshed it keeps what it showed. */
export function PanelFrame({
  panel,
  context,
  annotations,
  width,
  height,
  timeZone,
  viewAddress,
  onSelectRange,
}: Props) {
  const theme = useTheme2();
  const { drawn, isLoading, settle, failure } = usePanelData(panel, context, timeZone, width);
  const state = stateOf(panel, drawn, isLoading, failure);
  const errors = [...(drawn?.errors ?? []).map((error) => error.message), ...(failure ? [failure.message] : [])];
  const title = interpolateText(panel.title ?? '', context);
  const description = panel.description ? renderMarkdown(interpolateText(panel.description, context)) : undefined;
  const range = useMemo(() => toTimeRange(rangeOf(panel, (drawn?.context ?? context).range)), [panel, drawn, context]);

  return (
    <div
      data-panel-id={panel.id}
      data-panel-type={panel.type}
      data-panel-title={title}
      data-panel-state={state}
      data-panel-error={errors.join('\n') || undefined}
    >
      <PanelChrome
        title={title}
        description={description}
        width={width}
        height={height}
        padding={panel.type === 'table' ? 'none' : 'md'}
        displayMode={panel.transparent ? 'transparent' : 'default'}
        loadingState={isLoading ? LoadingState.Loading : LoadingState.Done}
        statusMessage={errors.length > 0 ? errors.join('\n') : undefined}
        titleItems={
          <PanelLinks panel={panel} context={context} timeFrom={panel.hideTimeOverride ? undefined : panel.timeFrom} />
        }
        menu={
          <Menu>
            <Menu.Item label="View" icon="eye" url={viewAddress} />
          </Menu>
        }
      >
        {(innerWidth, innerHeight) => (
          <ErrorBoundary dependencies={[drawn, innerWidth, innerHeight]}>
            {({ error }) => {
              if (error) {
                return <Message text={`${panelName(panel)} cannot be drawn: ${error.message}`} isError />;
              }
              const shared = {
                panel,
                annotations: annotations.filter((each) => showsAnnotation(panel.id, each)),
                range,
                timeZone,
                theme,
                width: innerWidth,
                height: innerHeight,
                onSelectRange,
              };
              if (panel.type === 'alertlist') {
                return (
                  <AlertListPanel
                    {...shared}
                    frames={[]}
                    exemplars={[]}
                    context={context}
                    replace={replaceFunction(context)}
                    onSettled={settle}
                  />
                );
              }
              const Component = PANELS[panel.type];
              if (!Component) {
                return <Message text={`The preview has no panel of type "${panel.type}".`} />;
              }
              if (!drawn) {
                return null;
              }
              if (state === 'empty' || (state === 'error' && isEmpty(drawn.frames))) {
                return (
                  <Message
                    text={state === 'error' ? 'The query failed' : (panel.fieldConfig?.defaults.noValue ?? 'No data')}
                  />
                );
              }
              return (
                <Component
                  {...shared}
                  frames={drawn.frames}
                  exemplars={drawn.exemplars}
                  context={drawn.context}
                  replace={replaceFunction(drawn.context)}
                />
              );
            }}
          </ErrorBoundary>
        )}
      </PanelChrome>
    </div>
  );
}

/** Runs a panel's queries anew whenever the context changes, and drops answers that came too late. */
function usePanelData(panel: Panel, context: QueryContext, timeZone: string, width: number) {
  const theme = useTheme2();
  const [drawn, setDrawn] = useState<Drawn | null>(null);
  const [isLoading, setLoading] = useState(true);
  const [failure, setFailure] = useState<Error | undefined>();
  const points = useRef(width);
  points.current = width;

  useEffect(() => {
    let isCurrent = true;
    const own = { ...context, maxDataPoints: Math.max(100, Math.round(points.current)) };
    if (panel.type === 'alertlist') {
      return undefined;
    }
    setLoading(true);
    const run = async () => {
      const result = WITHOUT_QUERY.includes(panel.type)
        ? { series: [], exemplars: [], errors: [] }
        : await runPanel(panel, own);
      const frames = await preparePanelData(panel, result.series, own, theme, timeZone);
      return { frames, exemplars: result.exemplars, errors: result.errors, context: own };
    };
    run()
      .then((result) => {
        if (isCurrent && !context.http.signal?.aborted) {
          setDrawn(result);
          setFailure(undefined);
          setLoading(false);
        }
      })
      .catch((error: Error) => {
        if (isCurrent && !context.http.signal?.aborted) {
          setFailure(error);
          setLoading(false);
        }
      });
    return () => {
      isCurrent = false;
    };
  }, [panel, context, theme, timeZone]);

  const settle = (error?: Error) => {
    setFailure(error);
    setLoading(false);
  };
  return { drawn, isLoading, settle, failure };
}

function stateOf(panel: Panel, drawn: Drawn | null, isLoading: boolean, failure: Error | undefined): PanelState {
  if (isLoading) {
    return 'loading';
  }
  if (failure || (drawn?.errors.length ?? 0) > 0) {
    return 'error';
  }
  if (panel.type !== 'alertlist' && !PANELS[panel.type]) {
    return 'unknown';
  }
  return !WITHOUT_QUERY.includes(panel.type) && drawn && isEmpty(drawn.frames) ? 'empty' : 'done';
}

function Message({ text, isError = false }: { text: string; isError?: boolean }) {
  const theme = useTheme2();
  return (
    <div
      data-testid="panel-message"
      style={{
        height: '100%',
        display: 'flex',
        alignItems: 'center',
        justifyContent: 'center',
        textAlign: 'center',
        padding: theme.spacing(1),
        color: isError ? theme.colors.error.text : theme.colors.text.secondary,
      }}
    >
      {text}
    </div>
  );
}

function PanelLinks({ panel, context, timeFrom }: { panel: Panel; context: QueryContext; timeFrom?: string }) {
  const links = (panel.links ?? []).filter((link) => link.url);
  return (
    <>
      {timeFrom && <span style={{ fontSize: 12 }}>Last {timeFrom}</span>}
      {links.map((link) => (
        <Tooltip key={link.title} content={interpolateText(link.title, context)}>
          <a
            href={boardLink(link, link.url ?? '', context)}
            target={link.targetBlank ? '_blank' : undefined}
            rel="noreferrer"
            aria-label={link.title}
            data-testid="panel-link"
          >
            <Icon name="external-link-alt" />
          </a>
        </Tooltip>
      ))}
    </>
  );
}
