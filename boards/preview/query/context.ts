/**
 * What a query is run in: data sources, time range, variables; and the names that Grafana defines itself.
 */
import type { ClickHouseSource } from './clickhouse.ts';
import type { Http } from './http.ts';
import { firstOf, interpolate, queryParameters, type Lookup, type Resolved, type Value } from './interpolate.ts';
import type { DataSourceRef } from './model.ts';
import type { PrometheusSource } from './prometheus.ts';
import type { Range } from './time.ts';

/** A store that queries can be sent to. */
export type Source = PrometheusSource | ClickHouseSource;

/** One choice of a variable. */
export interface Option {
  text: string;
  value: string;
}

/** What the address and the JSON carry when a variable stands for every option. */
export const ALL = '$__all';

/** A variable with its value. */
export interface Variable {
  name: string;
  type: string;
  label: string;
  /** 0 shows label and value, 1 the value only, 2 nothing. */
  hide: number;
  multi: boolean;
  includeAll: boolean;
  allValue?: string;
  /** Without the choice "All". */
  options: Option[];
  /** The chosen values; `[ALL]` for all. A variable that cannot have several has one. */
  values: string[];
}

/** The variables of a dashboard, by name. */
export type Variables = Map<string, Variable>;

/** Everything that a query needs to know beside itself. */
export interface QueryContext {
  sources: Source[];
  range: Range;
  variables: Variables;
  http: Http;
  board?: { uid: string; title: string };
  /** How many points a graph can show; Grafana takes the panel's width in pixels. Default 1000. */
  maxDataPoints?: number;
}

/** Whether a variable stands for everything: all is chosen, or nothing is. */
export function standsForAll(variable: Variable): boolean {
  return (
    variable.values.length === 0 ||
    variable.values.includes(ALL) ||
    (variable.values.length === 1 && variable.values[0] === '')
  );
}

/** What readers see of a variable's value. */
export function textOf(variable: Variable): string {
  if (variable.values.includes(ALL)) {
    return 'All';
  }
  return variable.values
    .map((value) => variable.options.find((option) => option.value === value)?.text ?? value)
    .join(' + ');
}

/** Looks names up among the variables. */
export function variableLookup(variables: Variables): Lookup {
  return (name) => {
    const variable = variables.get(name);
    if (!variable) {
      return undefined;
    }
    const multi = variable.multi || variable.includeAll;
    const common = { text: textOf(variable), multi, inAddress: variable.values };
    if (variable.values.includes(ALL)) {
      return variable.allValue
        ? { ...common, value: variable.allValue, verbatim: true }
        : { ...common, value: variable.options.map((option) => option.value) };
    }
    const value: Value = variable.multi ? variable.values : (variable.values[0] ?? '');
    return { ...common, value };
  };
}

/** Looks up what Grafana defines: times, the board, and what links carry on. */
export function builtInLookup(context: Pick<QueryContext, 'range' | 'variables' | 'board'>): Lookup {
  const { range, variables, board } = context;
  const seconds = Math.round((range.to - range.from) / 1000);
  const plain = (value: Value): Resolved => ({ value });
  return (name, path) => {
    switch (name) {
      case '__from':
        return plain(range.from);
      case '__to':
        return plain(range.to);
      case '__range':
        return plain(`${seconds}s`);
      case '__range_s':
        return plain(seconds);
      case '__range_ms':
        return plain(range.to - range.from);
      case '__dashboard':
        return plain((path === 'uid' ? board?.uid : board?.title) ?? '');
      case '__org':
        return plain(path === 'name' ? 'Main Org.' : 1);
      case '__user':
        return plain(path === 'id' ? 1 : 'admin');
      case '__timezone':
        return plain('utc');
      case '__url_time_range':
        return {
          value: `from=${encodeURIComponent(range.raw.from)}&to=${encodeURIComponent(range.raw.to)}`,
          verbatim: true,
        };
      case '__all_variables':
        return { value: allVariables(variables), verbatim: true };
      default:
        return undefined;
    }
  };
}

/** `var-a=1&var-b=2` for every variable. */
export function allVariables(variables: Variables): string {
  return [...variables.values()]
    .filter((variable) => variable.values.length > 0)
    .map((variable) => queryParameters(variable.name, variable.values))
    .join('&');
}

/** Looks up fixed names, such as `__interval`. */
export function fixedLookup(names: Record<string, string>): Lookup {
  return (name) => {
    const value = names[name];
    return value === undefined ? undefined : { value };
  };
}

/** Puts variables and built-in names into a text that no data source reads: a title, a description, a link. */
export function interpolateText(
  text: string,
  context: Pick<QueryContext, 'range' | 'variables' | 'board'>,
  format = 'text',
): string {
  return interpolate(text, firstOf(builtInLookup(context), variableLookup(context.variables)), format);
}

/**
 * The data source that a reference means. A uid may be a variable; without one, the first source of the type serves.
 *
 * @throws Error when there is none
 */
export function sourceOf(
  ref: DataSourceRef | null | undefined,
  context: Pick<QueryContext, 'sources' | 'range' | 'variables' | 'board'>,
): Source {
  const uid = ref?.uid ? interpolateText(ref.uid, context, 'raw') : undefined;
  const found = context.sources.find((source) =>
    uid ? source.uid === uid || source.name === uid : source.type === ref?.type,
  );
  if (!found) {
    throw new Error(`data source ${uid ?? ref?.type ?? '(none)'} not found`);
  }
  if (ref?.type && ref.type !== found.type) {
    throw new Error(`data source ${found.uid} is of type ${found.type}, the query asks for ${ref.type}`);
  }
  return found;
}
