/**
 * What Grafana's published packages expect their host to have registered before anything is drawn.
 */
import {
  FieldConfigOptionsRegistry,
  FieldConfigProperty,
  dataLinksOverrideProcessor,
  displayNameOverrideProcessor,
  identityOverrideProcessor,
  locationUtil,
  numberOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
  type DataTransformerInfo,
  type Field,
  type FieldConfigPropertyItem,
  type FieldConfigSource,
} from '@grafana/data';

/** Registers transformations and the way addresses are built. Icons are found through the public path. */
export function setUp(): void {
  (window as { __grafana_public_path__?: string }).__grafana_public_path__ = '/public/';
  const byId = new Map(
    Object.values(standardTransformers).map((each) => [each.id as string, each as DataTransformerInfo]),
  );
  standardTransformersRegistry.setInit(() =>
    [...byId.values()].map((transformation) => ({
      id: transformation.id,
      name: transformation.name,
      transformation: () => Promise.resolve(transformation),
      // Only Grafana's editor shows these.
      editor: () => null,
      imageDark: '',
      imageLight: '',
    })),
  );
  locationUtil.initialize({
    config: { appSubUrl: '' } as Parameters<typeof locationUtil.initialize>[0]['config'],
    getTimeRangeForUrl: () => ({ from: 'now-6h', to: 'now' }),
    getVariablesUrlParams: () => ({}),
  });
}

type Process = FieldConfigPropertyItem['process'];

const STANDARD: Array<[id: string, process: unknown]> = [
  [FieldConfigProperty.Unit, unitOverrideProcessor],
  [FieldConfigProperty.Min, numberOverrideProcessor],
  [FieldConfigProperty.Max, numberOverrideProcessor],
  [FieldConfigProperty.FieldMinMax, identityOverrideProcessor],
  [FieldConfigProperty.Decimals, numberOverrideProcessor],
  [FieldConfigProperty.DisplayName, displayNameOverrideProcessor],
  [FieldConfigProperty.NoValue, stringOverrideProcessor],
  [FieldConfigProperty.Thresholds, thresholdsOverrideProcessor],
  [FieldConfigProperty.Mappings, valueMappingsOverrideProcessor],
  [FieldConfigProperty.Links, dataLinksOverrideProcessor],
  [FieldConfigProperty.Color, identityOverrideProcessor],
  [FieldConfigProperty.Filterable, identityOverrideProcessor],
  ['description', stringOverrideProcessor],
];

/** Standard properties that only make sense for some fields, as Grafana's own registry has them. */
const ONLY_NUMBERS: string[] = [FieldConfigProperty.Min, FieldConfigProperty.Max, FieldConfigProperty.FieldMinMax];

/**
 * The properties that a panel's field configuration may set: the standard ones, and every `custom.*` key that it uses.
 *
 * Grafana's panels declare their custom keys; here each key that occurs is accepted as it is.
 */
export function fieldConfigRegistry(config: FieldConfigSource): FieldConfigOptionsRegistry {
  const standard = STANDARD.map(([id, process]) =>
    property({
      id,
      path: id,
      process: process as Process,
      shouldApply: ONLY_NUMBERS.includes(id) ? (field: Field) => field.type === 'number' : () => true,
    }),
  );
  const fromDefaults = Object.keys(config.defaults.custom ?? {});
  const fromOverrides = config.overrides
    .flatMap((rule) => rule.properties.map(({ id }) => id))
    .filter((id) => id.startsWith('custom.'))
    .map((id) => id.slice('custom.'.length));
  const custom = [...new Set([...fromDefaults, ...fromOverrides])].map((key) =>
    property({
      id: `custom.${key}`,
      path: key,
      isCustom: true,
      process: identityOverrideProcessor as Process,
      shouldApply: () => true,
    }),
  );
  return new FieldConfigOptionsRegistry(() => [...standard, ...custom]);
}

function property(
  item: Pick<FieldConfigPropertyItem, 'id' | 'path' | 'process' | 'shouldApply' | 'isCustom'>,
): FieldConfigPropertyItem {
  const nothing = () => null;
  return {
    name: item.id,
    description: '',
    editor: nothing,
    override: nothing,
    // Variables in texts are filled in, such as a label in a name.
    settings: { expandTemplateVars: true },
    ...item,
  } as unknown as FieldConfigPropertyItem;
}
