/** Colours, thresholds and mappings: the same colour means the same on every board. */
import {
  FieldColorBuilder,
  FieldColorModeId,
  MappingType,
  type SpecialValueMap,
  SpecialValueMatch,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  type ValueMapping,
} from '@grafana/grafana-foundation-sdk/dashboard';
import type { DynamicConfigValue } from '@grafana/grafana-foundation-sdk/dashboard';

import type { Objective } from '../semantic/types.ts';

/** Told apart by people who cannot tell red from green, and in a grey print: by lightness too. */
export const GOOD = '#1a9e77';
export const AMBER = '#e6a817';
export const BAD = '#d1495b';
export const UNKNOWN = '#8e8e99';
/** Of numbers that are neither good nor bad. */
export const NEUTRAL = '#5b8ff9';

/** Of HTTP status classes and of single statuses; by these names on every board. */
export const STATUS_COLORS: Record<string, string> = {
  '2xx': GOOD,
  '200': GOOD,
  '3xx': '#5b8ff9',
  '301': '#5b8ff9',
  '4xx': AMBER,
  '400': '#f0c45a',
  '404': AMBER,
  '5xx': BAD,
  '500': BAD,
  '503': '#8c2f39',
  other: UNKNOWN,
};

/** What is shown where nothing is known, so that it does not look like 0. */
export const NO_DATA = 'no data';

/** Green, amber and red by the objective; without one a single neutral colour. */
export function thresholds(objective: Objective | undefined): ThresholdsConfigBuilder {
  const builder = new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute);
  if (!objective) {
    return builder.steps([{ value: null, color: NEUTRAL }]);
  }
  const { better, amber, red } = objective;
  if (better === 'lower') {
    const worse = amber === red ? [] : [{ value: amber, color: AMBER }];
    return builder.steps([{ value: null, color: GOOD }, ...worse, { value: red, color: BAD }]);
  }
  const middle = amber === red ? [] : [{ value: red, color: AMBER }];
  return builder.steps([{ value: null, color: BAD }, ...middle, { value: amber, color: GOOD }]);
}

/** Series get a colour of the palette each. */
export const palette = () => new FieldColorBuilder().mode(FieldColorModeId.PaletteClassic);
/** Values get the colour of their threshold. */
export const byThreshold = () => new FieldColorBuilder().mode(FieldColorModeId.Thresholds);

/** A property of a field override. */
export function property(id: string, value: unknown): DynamicConfigValue {
  return { id, value };
}

/** A series of this name always has this colour. */
export function fixed(color: string): DynamicConfigValue[] {
  return [property('color', { mode: 'fixed', fixedColor: color })];
}

/** Null and NaN are not 0: they get a text of their own. */
export function unknownAs(text: string): SpecialValueMap {
  return {
    type: MappingType.SpecialValue,
    options: { match: SpecialValueMatch.NullAndNan, result: { text, color: UNKNOWN, index: 0 } },
  };
}

/** Texts for single values, each with its colour. */
export function values(options: Record<string, [text: string, color: string]>): ValueMapping {
  const entries = Object.entries(options).map(
    ([value, [text, color]], index) => [value, { text, color, index }] as const,
  );
  return { type: MappingType.ValueToText, options: Object.fromEntries(entries) } as ValueMapping;
}

/** A sentence that begins with a word has the colour of that word, whatever follows. */
export function sentences(colors: Record<string, string>): ValueMapping[] {
  return Object.entries(colors).map(
    ([word, color], index) =>
      ({
        type: MappingType.RegexToText,
        options: { pattern: `^(${word}.*)$`, result: { text: '$1', color, index } },
      }) as ValueMapping,
  );
}
