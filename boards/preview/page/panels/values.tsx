/**
 * Stat, gauge and bar gauge: one drawing for each reduced value.
 */
import {
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  type DisplayValueAlignmentFactors,
  type FieldDisplay,
  type LinkModel,
} from '@grafana/data';
import {
  BarGaugeDisplayMode,
  BarGaugeNamePlacement,
  BarGaugeValueMode,
  VizOrientation,
  type SingleStatBaseOptions,
} from '@grafana/schema';
import {
  BarGauge,
  BigValue,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueJustifyMode,
  BigValueTextMode,
  DataLinksContextMenu,
  VizRepeater,
  type VizRepeaterRenderValueProps,
} from '@grafana/ui';
import type { JSX } from 'react';
import { fieldConfigOf, optionsOf } from '../defaults.ts';
import { GaugeDial } from './gauge.tsx';
import type { PanelProps } from './panel.ts';

type Values = VizRepeaterRenderValueProps<FieldDisplay, DisplayValueAlignmentFactors>;

interface StatOptions extends SingleStatBaseOptions {
  colorMode: BigValueColorMode;
  graphMode: BigValueGraphMode;
  justifyMode: BigValueJustifyMode;
  textMode: BigValueTextMode;
  wideLayout?: boolean;
  showPercentChange?: boolean;
  percentChangeColorMode?: never;
}

/** One big number for each value, with a sparkline where there is time. */
export function StatPanel(props: PanelProps) {
  const options = optionsOf<StatOptions>(props.panel);
  const values = displayValues(props, options, options.graphMode !== BigValueGraphMode.None, options.showPercentChange);
  return (
    <Repeat
      {...props}
      values={values}
      orientation={options.orientation}
      render={({ value, width, height, alignmentFactors, count }) => (
        <Linked value={value}>
          {(openMenu, targetClassName) => (
            <BigValue
              value={value.display}
              count={count}
              sparkline={value.sparkline}
              colorMode={options.colorMode}
              graphMode={options.graphMode}
              justifyMode={options.justifyMode}
              textMode={textModeOf(options.textMode, values)}
              percentChangeColorMode={options.percentChangeColorMode}
              alignmentFactors={alignmentFactors}
              text={options.text}
              width={width}
              height={height}
              theme={props.theme}
              onClick={openMenu}
              className={targetClassName}
              disableWideLayout={!options.wideLayout}
            />
          )}
        </Linked>
      )}
    />
  );
}

interface GaugeOptions extends SingleStatBaseOptions {
  showThresholdMarkers: boolean;
  showThresholdLabels: boolean;
}

/** A dial for each value. */
export function GaugePanel(props: PanelProps) {
  const options = optionsOf<GaugeOptions>(props.panel);
  return (
    <Repeat
      {...props}
      values={displayValues(props, options)}
      orientation={options.orientation}
      autoGrid
      render={({ value, width, height, count }) => (
        <Linked value={value}>
          {(openMenu) => (
            <GaugeDial
              value={value}
              width={width}
              height={height}
              theme={props.theme}
              showName={count > 1}
              showMarkers={options.showThresholdMarkers}
              showLabels={options.showThresholdLabels}
              onClick={openMenu}
            />
          )}
        </Linked>
      )}
    />
  );
}

interface BarGaugeOptions extends SingleStatBaseOptions {
  displayMode: BarGaugeDisplayMode;
  valueMode: BarGaugeValueMode;
  namePlacement: BarGaugeNamePlacement;
  showUnfilled: boolean;
  minVizWidth: number;
  minVizHeight: number;
  maxVizHeight: number;
}

/** A bar for each value. */
export function BarGaugePanel(props: PanelProps) {
  const options = optionsOf<BarGaugeOptions>(props.panel);
  const isLcd = options.displayMode === BarGaugeDisplayMode.Lcd;
  return (
    <Repeat
      {...props}
      values={displayValues(props, options)}
      orientation={options.orientation}
      itemSpacing={isLcd ? 2 : 10}
      minVizWidth={options.minVizWidth}
      minVizHeight={options.minVizHeight}
      maxVizHeight={options.maxVizHeight}
      render={({ value, width, height, orientation, alignmentFactors, count }) => (
        <Linked value={value}>
          {(openMenu, targetClassName) => (
            <BarGauge
              value={count === 1 ? { ...value.display, title: undefined } : value.display}
              width={width}
              height={height}
              orientation={orientation}
              field={value.field}
              display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)}
              text={options.text}
              theme={props.theme}
              itemSpacing={isLcd ? 2 : 10}
              displayMode={options.displayMode}
              valueDisplayMode={options.valueMode}
              namePlacement={options.namePlacement}
              showUnfilled={options.showUnfilled}
              alignmentFactors={alignmentFactors}
              onClick={openMenu}
              className={targetClassName}
            />
          )}
        </Linked>
      )}
    />
  );
}

/** The reduced values of a panel, as Grafana computes them. */
export function displayValues(
  { frames, panel, replace, theme, timeZone }: PanelProps,
  options: SingleStatBaseOptions,
  sparkline = false,
  percentChange = false,
): FieldDisplay[] {
  return getFieldDisplayValues({
    fieldConfig: fieldConfigOf(panel),
    reduceOptions: options.reduceOptions,
    replaceVariables: replace,
    theme,
    data: frames,
    sparkline,
    percentChange,
    timeZone,
  });
}

interface RepeatProps extends PanelProps {
  values: FieldDisplay[];
  orientation?: VizOrientation;
  itemSpacing?: number;
  autoGrid?: boolean;
  minVizWidth?: number;
  minVizHeight?: number;
  maxVizHeight?: number;
  render: (props: Values) => JSX.Element;
}

function Repeat({ values, orientation, frames, width, height, render, itemSpacing = 10, ...sizes }: RepeatProps) {
  return (
    <VizRepeater<FieldDisplay, DisplayValueAlignmentFactors>
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={render}
      width={width}
      height={height}
      source={frames}
      renderCounter={0}
      orientation={orientation ?? VizOrientation.Auto}
      itemSpacing={itemSpacing}
      autoGrid={sizes.autoGrid}
      minVizWidth={sizes.minVizWidth}
      minVizHeight={sizes.minVizHeight}
      maxVizHeight={sizes.maxVizHeight}
    />
  );
}

/** Makes a value lead where its links lead: at a click with one link, by a menu with several. */
function Linked({
  value,
  children,
}: {
  value: FieldDisplay;
  children: (openMenu?: React.MouseEventHandler<HTMLElement>, className?: string) => JSX.Element;
}) {
  if (!value.hasLinks || !value.getLinks) {
    return children();
  }
  return (
    <DataLinksContextMenu links={value.getLinks as () => LinkModel[]}>
      {({ openMenu, targetClassName }) => children(openMenu, targetClassName)}
    </DataLinksContextMenu>
  );
}

/** With several values the name is shown too, unless the panel says otherwise. */
function textModeOf(mode: BigValueTextMode, values: FieldDisplay[]): BigValueTextMode {
  return mode === BigValueTextMode.Auto && values.length === 1 && values[0]?.field.displayName
    ? BigValueTextMode.Value
    : mode;
}
