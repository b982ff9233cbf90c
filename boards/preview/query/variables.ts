/**
 * Finds the choices of a dashboard's variables and which of them are chosen.
 */
import { queryClickHouse } from './clickhouse.ts';
import { ALL, sourceOf, type Option, type QueryContext, type Variable, type Variables } from './context.ts';
import { QueryError } from './http.ts';
import { labelQuery, type LabelQuery } from './label-query.ts';
import type { Dashboard, VariableModel } from './model.ts';
import { ask } from './prometheus.ts';
import { prepareTarget, sourcesOfType } from './run.ts';

/** Chosen values by variable, as an address gives them. */
export type Chosen = Record<string, string[]>;

/** The variables, and what went wrong while their choices were asked for. */
export interface ResolvedVariables {
  variables: Variables;
  errors: QueryError[];
}

/** The types of variable that the preview can show. */
export const KNOWN_TYPES = ['query', 'custom', 'textbox', 'interval', 'datasource', 'constant', 'switch'];

/**
 * Resolves all variables of a dashboard, each after those that it uses.
 *
 * @param chosen what the address says; it wins over what the JSON has saved
 */
export async function resolveVariables(
  board: Dashboard,
  context: Omit<QueryContext, 'variables'>,
  chosen: Chosen = {},
): Promise<ResolvedVariables> {
  const models = (board.templating?.list ?? []).filter((model) => KNOWN_TYPES.includes(model.type));
  const variables: Variables = new Map();
  const errors: QueryError[] = [];
  for (const model of inOrderOfUse(models)) {
    let options: Option[] = [];
    try {
      options = await optionsOf(model, { ...context, variables });
    } catch (cause) {
      errors.push(new QueryError(`variable ${model.name}`, 'options', queryText(model.query), cause));
    }
    variables.set(model.name, choose(model, options, chosen[model.name]));
  }
  const asListed = new Map(
    models.flatMap(({ name }) => (variables.has(name) ? [[name, variables.get(name) as Variable]] : [])),
  );
  return { variables: asListed, errors };
}

/** A variable with its value: what was chosen, else what was saved, else the first choice. */
export function choose(model: VariableModel, options: Option[], chosen?: string[]): Variable {
  const includeAll = Boolean(model.includeAll);
  const variable: Variable = {
    name: model.name,
    type: model.type,
    label: model.label || model.name,
    hide: hideOf(model.hide),
    multi: Boolean(model.multi),
    includeAll,
    ...(model.allValue ? { allValue: model.allValue } : {}),
    options,
    values: [],
  };
  const saved = listOf(model.current?.value);
  if (chosen && chosen.length > 0) {
    variable.values = includeAll && chosen.some((value) => value === 'All' || value === ALL) ? [ALL] : chosen;
  } else if (['textbox', 'constant'].includes(model.type)) {
    variable.values = saved.length > 0 && saved[0] !== '' ? saved : [queryText(model.query)];
  } else if (includeAll && (saved.length === 0 || saved.includes(ALL))) {
    variable.values = [ALL];
  } else {
    const stillThere = saved.filter((value) => options.some((option) => option.value === value));
    const first = includeAll ? ALL : (options[0]?.value ?? '');
    variable.values = stillThere.length > 0 ? stillThere : [first];
  }
  if (!variable.multi) {
    variable.values = variable.values.slice(0, 1);
  }
  return variable;
}

/** Whether the choices depend on the time range, so that they are asked for again when it changes. */
export function refreshesOnTimeChange(board: Dashboard): boolean {
  return (board.templating?.list ?? []).some((model) => model.type === 'query' && model.refresh === 2);
}

async function optionsOf(model: VariableModel, context: QueryContext): Promise<Option[]> {
  switch (model.type) {
    case 'query':
      return sortOptions(filterOptions(await queryOptions(model, context), model.regex), model.sort ?? 0);
    case 'custom':
      return splitCustom(queryText(model.query));
    case 'interval':
      return queryText(model.query)
        .split(',')
        .map((part) => part.trim())
        .filter(Boolean)
        .map((value) => ({ text: value, value }));
    case 'datasource':
      return filterOptions(
        sourcesOfType(context.sources, queryText(model.query)).map((source) => ({
          text: source.name,
          value: source.uid,
        })),
        model.regex,
      );
    case 'switch':
      return (model.options ?? []).map(({ text, value }) => ({ text: String(text), value: String(value) }));
    default:
      return [{ text: queryText(model.query), value: queryText(model.query) }];
  }
}

async function queryOptions(model: VariableModel, context: QueryContext): Promise<Option[]> {
  const source = sourceOf(model.datasource, context);
  const text = queryText(model.query) || model.definition || '';
  if (source.type === 'prometheus') {
    // The query's own words are not PromQL, but names within it are filled in the same way.
    const prepared = prepareTarget({ refId: 'variable', datasource: model.datasource, expr: text }, context);
    return labelOptions(labelQuery(prepared.text), source, context);
  }
  const prepared = prepareTarget({ refId: 'variable', datasource: model.datasource, rawSql: text, format: 1 }, context);
  const data = await queryClickHouse(source, prepared.text, 'variable', context.http);
  // One column is value and text; of two, the first is the value and the second what a reader sees.
  const [values, texts = values] = data.fields;
  return unique(
    (values?.values ?? []).map((value, row) => ({ value: String(value), text: String(texts?.values[row]) })),
  );
}

async function labelOptions(
  query: LabelQuery,
  source: Parameters<typeof ask>[0],
  context: QueryContext,
): Promise<Option[]> {
  const { range, http } = context;
  const times = { start: String(Math.floor(range.from / 1000)), end: String(Math.ceil(range.to / 1000)) };
  const matching = 'match' in query && query.match ? { ...times, 'match[]': query.match } : times;
  const plain = (values: string[]) => values.map((value) => ({ text: value, value }));
  switch (query.kind) {
    case 'label_values':
      return plain(await ask<string[]>(source, `label/${encodeURIComponent(query.label)}/values`, http, matching));
    case 'label_names':
      return plain(await ask<string[]>(source, 'labels', http, matching));
    case 'metrics': {
      const names = await ask<string[]>(source, 'label/__name__/values', http, times);
      const pattern = new RegExp(query.pattern);
      return plain(names.filter((name) => pattern.test(name)));
    }
    case 'query_result': {
      type Vector = { result: Array<{ metric: Record<string, string>; value: [number, string] }> };
      const answer = await ask<Vector>(source, 'query', http, { query: query.expr, time: times.end });
      return plain(answer.result.map(({ metric, value }) => `${seriesText(metric)} ${value[1]} ${value[0] * 1000}`));
    }
    case 'series': {
      const found = await ask<Array<Record<string, string>>>(source, 'series', http, {
        ...times,
        'match[]': query.match,
      });
      return plain(found.map(seriesText));
    }
  }
}

/** Keeps what a variable's regular expression matches; its group, or the groups `text` and `value`, replace the choice. */
export function filterOptions(options: Option[], regex: string | undefined): Option[] {
  if (!regex) {
    return unique(options);
  }
  const written = /^\/(.*)\/([a-z]*)$/s.exec(regex);
  const pattern = new RegExp(written?.[1] ?? regex, (written?.[2] ?? '').replace('g', ''));
  const kept = options.flatMap((option) => {
    const match = pattern.exec(option.text);
    if (!match) {
      return [];
    }
    const { text, value } = match.groups ?? {};
    if (text !== undefined || value !== undefined) {
      return [{ text: text ?? value ?? '', value: value ?? text ?? '' }];
    }
    return match[1] === undefined ? [option] : [{ text: match[1], value: match[1] }];
  });
  return unique(kept);
}

/** Sorts as the variable's `sort` says: odd is ascending, even descending; 1 and 2 by letters, 3 and 4 by number, 5 and 6 regardless of case, 7 and 8 naturally. */
export function sortOptions(options: Option[], sort: number): Option[] {
  const number = (option: Option) => Number(/\d+(\.\d+)?/.exec(option.text)?.[0] ?? -1);
  const compare: Record<number, (a: Option, b: Option) => number> = {
    1: (a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0),
    2: (a, b) => number(a) - number(b),
    3: (a, b) => a.text.toLowerCase().localeCompare(b.text.toLowerCase()),
    4: (a, b) => a.text.localeCompare(b.text, undefined, { numeric: true }),
  };
  const by = compare[Math.ceil(sort / 2)];
  if (!by) {
    return options;
  }
  const sorted = [...options].sort(by);
  return sort % 2 === 0 ? sorted.reverse() : sorted;
}

/** `a, b, Text : value`, with `\,` for a comma within a choice. */
export function splitCustom(text: string): Option[] {
  const parts = text.match(/(?:\\,|[^,])+/g) ?? [];
  return parts.map((part) => {
    const clean = part.replace(/\\,/g, ',').trim();
    const pair = /^\s*(.+)\s:\s(.+)$/.exec(clean);
    return pair ? { text: (pair[1] ?? '').trim(), value: (pair[2] ?? '').trim() } : { text: clean, value: clean };
  });
}

/** A query as text, however a data source's editor has saved it. */
function queryText(query: unknown): string {
  if (typeof query === 'string') {
    return query;
  }
  const { rawSql, query: inner } = (query ?? {}) as { rawSql?: string; query?: string };
  return rawSql ?? inner ?? '';
}

function inOrderOfUse(models: VariableModel[]): VariableModel[] {
  const ordered: VariableModel[] = [];
  const visited = new Set<string>();
  const visit = (model: VariableModel) => {
    if (visited.has(model.name)) {
      return;
    }
    visited.add(model.name);
    const reads = `${queryText(model.query)} ${model.datasource?.uid ?? ''} ${model.regex ?? ''}`;
    for (const other of models) {
      if (new RegExp(`\\$\\{?${other.name}\\b`).test(reads)) {
        visit(other);
      }
    }
    ordered.push(model);
  };
  models.forEach(visit);
  return ordered;
}

function hideOf(hide: number | string | undefined): number {
  const words: Record<string, number> = { dontHide: 0, hideLabel: 1, hideVariable: 2, inControlsMenu: 0 };
  return typeof hide === 'string' ? (words[hide] ?? 0) : (hide ?? 0);
}

function listOf(value: unknown): string[] {
  if (value === undefined || value === null) {
    return [];
  }
  return (Array.isArray(value) ? value : [value]).map(String);
}

function unique(options: Option[]): Option[] {
  return [...new Map(options.map((option) => [option.value, option])).values()];
}

function seriesText({ __name__: metric = '', ...labels }: Record<string, string>): string {
  return `${metric}{${Object.entries(labels)
    .map(([key, value]) => `${key}="${value}"`)
    .join(',')}}`;
}
