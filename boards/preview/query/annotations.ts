/**
 * Asks for a dashboard's annotations: moments and stretches of time with a text.
 */
import type { DataFrame, Field } from '@grafana/data';
import { sourceOf, type QueryContext } from './context.ts';
import type { FieldKind } from './frames.ts';
import { QueryError } from './http.ts';
import type { AnnotationModel, Dashboard, Target } from './model.ts';
import { fillLabels } from './prometheus.ts';
import { parseDuration } from './time.ts';
import { runTarget } from './run.ts';

/** A mark on the time axis. */
export interface Annotation {
  /** Which query of the dashboard it comes from. */
  source: string;
  time: number;
  /** Set for a stretch of time. */
  timeEnd?: number;
  title?: string;
  text: string;
  tags: string[];
  color: string;
  /** Panels that show it, or (`exclude`) that do not; all, when it is missing. */
  filter?: AnnotationModel['filter'];
}

/** The queries that a reader can switch on and off. Grafana's own list of stored annotations is not one of them. */
export function annotationQueries(board: Dashboard): AnnotationModel[] {
  return (board.annotations?.list ?? []).filter((model) => !model.builtIn && model.datasource?.uid !== '-- Grafana --');
}

/** Runs the given annotation queries. One that fails does not take the others with it. */
export async function runAnnotations(
  models: AnnotationModel[],
  context: QueryContext,
): Promise<{ annotations: Annotation[]; errors: QueryError[] }> {
  const errors: QueryError[] = [];
  const found = await Promise.all(
    models.map(async (model) => {
      try {
        return await runAnnotation(model, context);
      } catch (error) {
        errors.push(
          error instanceof QueryError ? error : new QueryError(`annotation "${model.name}"`, 'Anno', '', error),
        );
        return [];
      }
    }),
  );
  return { annotations: found.flat().sort((a, b) => a.time - b.time), errors };
}

/** Whether a panel shows an annotation. */
export function showsAnnotation(panelId: number, { filter }: Annotation): boolean {
  if (!filter?.ids || filter.ids.length === 0) {
    return true;
  }
  return filter.ids.includes(panelId) !== Boolean(filter.exclude);
}

async function runAnnotation(model: AnnotationModel, context: QueryContext): Promise<Annotation[]> {
  const source = sourceOf(model.datasource, context);
  const target: Target = { refId: 'Anno', ...model, ...model.target, datasource: model.datasource };
  const facts = { title: `annotation "${model.name}"`, maxDataPoints: 100 };
  if (source.type === 'prometheus') {
    const step = String(model['step'] ?? model.target?.['step'] ?? '60s');
    const frames = await runTarget(
      { ...target, interval: step, range: true, instant: false, format: 'time_series' },
      context,
      facts,
    );
    return frames.flatMap((each) => stretches(each, model, parseDuration(step) ?? 60_000));
  }
  const frames = await runTarget({ ...target, format: 1 }, context, facts);
  return frames.flatMap((each) => rows(each, model));
}

/** Rows of a table: columns are found by name, else by their type. */
function rows(data: DataFrame, model: AnnotationModel): Annotation[] {
  const mapped = (name: string) =>
    model.mappings?.[name]?.source === 'skip' ? undefined : (model.mappings?.[name]?.value ?? name);
  const byName = (name: string) => data.fields.find((each) => each.name.toLowerCase() === mapped(name)?.toLowerCase());
  const byKind = (kind: FieldKind) => data.fields.find((each) => (each.type as FieldKind) === kind);
  const time = byName('time') ?? byKind('time');
  const end = byName('timeEnd');
  const text = byName('text') ?? byKind('string');
  const title = byName('title');
  const tags = byName('tags');
  const color = byName('color');
  if (!time) {
    throw new QueryError(`annotation "${model.name}"`, 'Anno', '', new Error('the query returns no time column'));
  }
  return Array.from({ length: data.length }, (_, row) => ({
    ...base(model),
    time: Number(time.values[row]),
    ...(isSet(end, row) ? { timeEnd: Number(end?.values[row]) } : {}),
    ...(title ? { title: String(title.values[row]) } : {}),
    text: String(text?.values[row] ?? ''),
    tags: tagsOf(tags?.values[row]),
    ...(color?.values[row] ? { color: String(color.values[row]) } : {}),
  }));
}

/** Samples of a series that are not zero, joined while they follow each other within the step. */
function stretches(data: DataFrame, model: AnnotationModel, step: number): Annotation[] {
  const [time, value] = data.fields;
  const labels = value?.labels ?? {};
  const fill = (key: string) => fillLabels(String(model[key] ?? model.target?.[key] ?? ''), labels);
  const tags = String(model['tagKeys'] ?? model.target?.['tagKeys'] ?? '')
    .split(',')
    .map((key) => labels[key.trim()] ?? '')
    .filter(Boolean);
  const found: Annotation[] = [];
  let last: Annotation | undefined;
  time?.values.forEach((at: number, index: number) => {
    const sample = Number(value?.values[index]);
    if (!sample || Number.isNaN(sample)) {
      return;
    }
    if (last && at - (last.timeEnd ?? last.time) <= step) {
      last.timeEnd = at;
      return;
    }
    last = { ...base(model), time: at, title: fill('titleFormat') || undefined, text: fill('textFormat'), tags };
    found.push(last);
  });
  return found;
}

function base(model: AnnotationModel): Pick<Annotation, 'source' | 'color' | 'filter'> {
  return { source: model.name, color: model.iconColor ?? 'red', filter: model.filter };
}

function isSet(column: Field | undefined, row: number): boolean {
  const value = column?.values[row] as unknown;
  return value !== null && value !== undefined && Number(value) > 0;
}

function tagsOf(value: unknown): string[] {
  if (Array.isArray(value)) {
    return value.map(String);
  }
  return String(value ?? '')
    .split(',')
    .map((tag) => tag.trim())
    .filter(Boolean);
}
