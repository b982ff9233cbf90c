/**
 * What every panel is given, and what it may need to know of its surroundings.
 */
import type { DataFrame, GrafanaTheme2, InterpolateFunction, TimeRange } from '@grafana/data';
import type { ReactNode } from 'react';
import type { Annotation, Panel, QueryContext } from '../../query/index.ts';

/** The properties of a panel's component. Sizes are the pixels within the frame. */
export interface PanelProps {
  panel: Panel;
  /** Frames with units, thresholds, mappings and links applied. */
  frames: DataFrame[];
  /** Points to draw over a time series. */
  exemplars: DataFrame[];
  annotations: Annotation[];
  context: QueryContext;
  range: TimeRange;
  timeZone: string;
  theme: GrafanaTheme2;
  width: number;
  height: number;
  replace: InterpolateFunction;
  /** Selects a range of time, in epoch milliseconds. */
  onSelectRange: (from: number, to: number) => void;
}

/** A panel's component. */
export type PanelComponent = (props: PanelProps) => ReactNode;
