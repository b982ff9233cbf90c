/** A panel's answer as figures: one number for each thing that the panel shows, by a name that stays the same from run to run. */
import type { DataFrame, Field } from '@grafana/data';
import { runTarget, targetsOf, type Panel, type QueryContext } from '../../preview/query/index.ts';

/** By name, a number; `null` where a value is missing. */
export type Figures = Record<string, number | null>;

/** What a query of a panel was answered. */
export interface Answer {
  refId: string;
  frames: DataFrame[];
  /** Milliseconds that it took. */
  took: number;
}

const kindOf = (field: Field): string => field.type;
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

/** Asks every query of a panel, one after the other. @throws QueryError that names panel and query */
export async function answersOf(panel: Panel, context: QueryContext): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const target of targetsOf(panel)) {
    const started = performance.now();
    const frames = await runTarget(target, context, panel);
    answers.push({ refId: target.refId, frames, took: performance.now() - started });
  }
  return answers;
}

/** Whether there is nothing to draw: no row, or in all rows no value. */
export function isEmpty(frames: DataFrame[]): boolean {
  return !frames.some(({ fields }) =>
    fields.some(
      (field) => kindOf(field) !== 'time' && field.values.some((value) => value !== null && !Number.isNaN(value)),
    ),
  );
}

/** Of series the sum over time; of a table each number, by the texts of its row. */
export function figuresOf(frames: DataFrame[]): Figures {
  const figures: Figures = {};
  for (const frame of frames) {
    const isSeries =
      frame.fields.some((field) => kindOf(field) === 'time') &&
      frame.fields.every((field) => kindOf(field) !== 'string');
    for (const field of frame.fields.filter((each) => kindOf(each) === 'number')) {
      if (isSeries) {
        figures[seriesName(field)] = sum(field.values);
      } else {
        rowNames(frame).forEach((row, index) => (figures[`${row}${field.name}`] = numberOr(field.values[index])));
      }
    }
  }
  return figures;
}

/** The texts of an answer, such as a sentence. */
export function textsIn(frames: DataFrame[]): string[] {
  return frames.flatMap(({ fields }) =>
    fields.filter((field) => kindOf(field) === 'string').flatMap(({ values }) => values.map(String)),
  );
}

/** What a legend calls a series. */
export function seriesName({ name, labels, config }: Field): string {
  const ofLabels = Object.values(labels ?? {}).join(' ');
  return config.displayNameFromDS ?? (ofLabels || name);
}

function rowNames({ fields, length }: DataFrame): string[] {
  const texts = fields.filter((field) => kindOf(field) === 'string');
  return Array.from({ length }, (_, row) => texts.map(({ values }) => `${String(values[row])} | `).join(''));
}

const numberOr = (value: unknown) => (isNumber(value) ? value : null);

function sum(values: unknown[]): number | null {
  const numbers = values.filter(isNumber);
  return numbers.length === 0 ? null : numbers.reduce((total, each) => total + each, 0);
}
