/**
 * Lines, bars and points over time, with annotations and exemplars on top.
 */
import { DashboardCursorSync, FieldType, getFieldDisplayName, type DataFrame, type Field } from '@grafana/data';
import { SortOrder, TooltipDisplayMode, type VizLegendOptions } from '@grafana/schema';
import {
  SeriesVisibilityChangeBehavior,
  TimeSeries,
  TooltipPlugin2,
  VizTooltipContent,
  VizTooltipHeader,
  VizTooltipWrapper,
  VizTooltipFooter,
  getFieldDisplayItems,
  getFieldDisplayLinks,
  usePanelContext,
  PanelContextProvider,
} from '@grafana/ui';
import { useCallback, useMemo, useState } from 'react';
import { optionsOf } from '../defaults.ts';
import { AnnotationMarks } from './annotations.tsx';
import { ExemplarMarks } from './exemplars.tsx';
import type { PanelProps } from './panel.ts';

interface Options {
  legend: VizLegendOptions;
  tooltip: { mode: TooltipDisplayMode; sort: SortOrder; maxHeight?: number };
}

/** Hover modes of Grafana's tooltip; its enum is not published as a value. */
const HOVER = { one: 0, all: 1 };

/** The time series panel. */
export function TimeSeriesPanel(props: PanelProps) {
  const { panel, frames, range, timeZone, width, height, annotations, exemplars, onSelectRange } = props;
  const options = optionsOf<Options>(panel);
  const [hidden, setHidden] = useState<string[]>([]);
  const context = usePanelContext();
  const graphable = useMemo(() => toGraphable(frames, hidden), [frames, hidden]);
  const toggle = useCallback(
    (label: string | string[] | null, mode: unknown) => {
      const name = Array.isArray(label) ? label[0] : label;
      setHidden((before) =>
        nextHidden(
          before,
          name ?? '',
          namesOf(frames),
          mode === 'select' || mode === SeriesVisibilityChangeBehavior.Isolate,
        ),
      );
    },
    [frames],
  );

  if (graphable.length === 0) {
    return <div style={{ padding: 8 }}>The query returns no time column with numbers beside it.</div>;
  }
  return (
    <PanelContextProvider value={{ ...context, onToggleSeriesVisibility: toggle }}>
      <TimeSeries
        frames={graphable}
        width={width}
        height={height}
        timeRange={range}
        timeZone={timeZone}
        legend={options.legend}
        options={{ hidden }}
      >
        {(config, aligned) => (
          <>
            {options.tooltip.mode !== TooltipDisplayMode.None && (
              <TooltipPlugin2
                config={config}
                hoverMode={options.tooltip.mode === TooltipDisplayMode.Single ? HOVER.one : HOVER.all}
                syncMode={context.sync?.() ?? DashboardCursorSync.Off}
                syncScope={context.eventsScope}
                queryZoom={({ from, to }) => onSelectRange(from, to)}
                clientZoom
                maxWidth={420}
                render={(_plot, indexes, seriesIndex, isPinned, _dismiss, _range, viaSync) =>
                  viaSync ? null : (
                    <Tooltip
                      aligned={aligned}
                      indexes={indexes}
                      seriesIndex={seriesIndex}
                      isPinned={isPinned}
                      options={options}
                    />
                  )
                }
              />
            )}
            <AnnotationMarks config={config} annotations={annotations} theme={props.theme} timeZone={timeZone} />
            <ExemplarMarks
              config={config}
              exemplars={exemplars}
              context={props.context}
              theme={props.theme}
              timeZone={timeZone}
            />
          </>
        )}
      </TimeSeries>
    </PanelContextProvider>
  );
}

interface TooltipProps {
  aligned: DataFrame;
  indexes: Array<number | null>;
  seriesIndex: number | null;
  isPinned: boolean;
  options: Options;
}

function Tooltip({ aligned, indexes, seriesIndex, isPinned, options }: TooltipProps) {
  const time = aligned.fields[0];
  const at = time?.values[indexes.find((index) => index !== null && index !== undefined) ?? 0] as number | undefined;
  if (!time || at === undefined) {
    return null;
  }
  const items = getFieldDisplayItems(
    aligned.fields,
    time,
    indexes,
    seriesIndex,
    options.tooltip.mode,
    options.tooltip.sort,
  );
  const field = seriesIndex === null ? undefined : aligned.fields[seriesIndex];
  const row = seriesIndex === null ? null : indexes[seriesIndex];
  const links = isPinned && field && row !== null && row !== undefined ? getFieldDisplayLinks(field, row) : [];
  return (
    <VizTooltipWrapper>
      <VizTooltipHeader item={{ label: '', value: time.display?.(at).text ?? String(at) }} isPinned={isPinned} />
      <VizTooltipContent items={items} isPinned={isPinned} scrollable maxHeight={options.tooltip.maxHeight ?? 400} />
      {links.length > 0 && <VizTooltipFooter dataLinks={links} />}
    </VizTooltipWrapper>
  );
}

/**
 * Frames with a time column first and only what a graph can draw: no text, and no number that is none, which would
 * stretch the axis to infinity.
 */
export function toGraphable(frames: DataFrame[], hidden: string[] = []): DataFrame[] {
  return frames.flatMap((frame) => {
    const time = frame.fields.find((field) => field.type === FieldType.time);
    const values = frame.fields.filter(
      (field) => field.type === FieldType.number || field.type === FieldType.boolean || field.type === FieldType.enum,
    );
    if (!time || values.length === 0) {
      return [];
    }
    return [{ ...frame, fields: [time, ...values.map((field) => graphableField(field, frames, hidden))] }];
  });
}

function graphableField(field: Field, frames: DataFrame[], hidden: string[]): Field {
  const finite = field.values.map((value: unknown) =>
    typeof value === 'boolean' ? Number(value) : Number.isFinite(value) ? value : null,
  );
  const isHidden = hidden.includes(nameOf(field, frames));
  const custom = isHidden
    ? { ...field.config.custom, hideFrom: { viz: true, legend: false, tooltip: true } }
    : field.config.custom;
  return {
    ...field,
    type: field.type === FieldType.boolean ? FieldType.number : field.type,
    values: finite,
    config: { ...field.config, custom },
  };
}

function namesOf(frames: DataFrame[]): string[] {
  return frames.flatMap((frame) =>
    frame.fields.filter((field) => field.type !== FieldType.time).map((field) => nameOf(field, frames)),
  );
}

function nextHidden(before: string[], name: string, all: string[], isolate: boolean): string[] {
  if (!isolate) {
    return before.includes(name) ? before.filter((each) => each !== name) : [...before, name];
  }
  const others = all.filter((each) => each !== name);
  const isIsolated = others.length > 0 && others.every((each) => before.includes(each));
  return isIsolated ? [] : others;
}

function nameOf(field: Field, frames: DataFrame[]): string {
  const frame = frames.find((each) => each.fields.includes(field));
  return getFieldDisplayName(field, frame, frames);
}
