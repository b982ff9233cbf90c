/**
 * From the frames of queries to the frames of a panel: transformations, then units, thresholds, mappings and links.
 */
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  transformDataFrame,
  type DataFrame,
  type GrafanaTheme2,
  type InterpolateFunction,
  type ScopedVars,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';
import {
  firstOf,
  builtInLookup,
  interpolate,
  lookupIn,
  variableLookup,
  type Cell,
  type Lookup,
  type Panel,
  type QueryContext,
  type Resolved,
  type Value,
} from '../query/index.ts';
import { fieldConfigOf } from './defaults.ts';
import { fieldConfigRegistry } from './setup.ts';

/** Frames as a panel draws them. */
export async function preparePanelData(
  panel: Panel,
  series: DataFrame[],
  context: QueryContext,
  theme: GrafanaTheme2,
  timeZone: string,
): Promise<DataFrame[]> {
  const replace = replaceFunction(context);
  const transformations = (panel.transformations ?? []).filter((each) => !each.disabled);
  const transformed =
    transformations.length > 0
      ? await firstValueFrom(
          transformDataFrame(transformations, series, { interpolate: (text: string) => replace(text) }),
        )
      : series;
  return configure(panel, transformed, context, theme, timeZone);
}

/** Applies a panel's field configuration. */
export function configure(
  panel: Panel,
  frames: DataFrame[],
  context: QueryContext,
  theme: GrafanaTheme2,
  timeZone: string,
): DataFrame[] {
  const fieldConfig = fieldConfigOf(panel);
  const configured = applyFieldOverrides({
    data: frames,
    fieldConfig,
    fieldConfigRegistry: fieldConfigRegistry(fieldConfig),
    replaceVariables: replaceFunction(context),
    theme,
    timeZone,
  });
  // Tables read the name of a column from its state alone.
  cacheFieldDisplayNames(configured);
  return configured;
}

/** The function by which Grafana's packages fill variables in; `scoped` names the cell or the series at hand. */
export function replaceFunction(context: QueryContext): InterpolateFunction {
  return (text, scoped, format) => {
    const cell = scoped?.['__dataContext']?.value as (Cell & { calculatedValue?: Cell['calculated'] }) | undefined;
    const lookup = firstOf(
      scopedLookup(scoped),
      cell
        ? lookupIn({ ...cell, calculated: cell.calculatedValue }, context)
        : firstOf(builtInLookup(context), variableLookup(context.variables)),
    );
    return interpolate(
      text,
      lookup,
      typeof format === 'function' ? (value) => String(format(value, {}, undefined)) : (format ?? 'text'),
    );
  };
}

/** Names that a component brings along: `__series.name`, `__field.labels.route`, `__cell_0`. */
function scopedLookup(scoped: ScopedVars | undefined): Lookup {
  return (name, path): Resolved | undefined => {
    const entry = scoped?.[name];
    if (!entry || name === '__dataContext') {
      return undefined;
    }
    const value = (path?.split('.') ?? []).reduce<unknown>(
      (inner, key) => (inner as Record<string, unknown> | undefined)?.[key],
      entry.value,
    );
    return value === undefined || typeof value === 'object' ? undefined : { value: value as Value };
  };
}

/** Whether there is nothing to show. */
export function isEmpty(frames: DataFrame[]): boolean {
  return frames.every((frame) => frame.length === 0 || frame.fields.length === 0);
}
