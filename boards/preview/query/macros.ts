/**
 * The macros of Grafana's ClickHouse data source, expanded to the SQL that its plugin (4.x) sends.
 *
 * Macros work on text after variables are in. Comments are dropped first, as the plugin does, so that a macro in a
 * comment costs nothing; what stands in quotes is never taken for a comment. An unknown macro stays and lets the
 * server complain, since its message names the place.
 */
import { parseDuration } from './time.ts';

/** What macros are expanded with. Times and interval in milliseconds. */
export interface MacroContext {
  from: number;
  to: number;
  interval: number;
}

type Macro = (args: string[], context: MacroContext) => string;

/** A macro that was written wrongly. */
export class MacroError extends Error {}

const seconds = (milliseconds: number) => `toDateTime(${Math.floor(milliseconds / 1000)})`;
const millis = (milliseconds: number) => `fromUnixTimestamp64Milli(${Math.floor(milliseconds)})`;
const day = (milliseconds: number) => `toDate('${new Date(milliseconds).toISOString().slice(0, 10)}')`;
const wholeSeconds = (milliseconds: number) => Math.floor(Math.max(milliseconds / 1000, 1));

const between = (column: string, from: string, to: string) => `${column} >= ${from} AND ${column} <= ${to}`;

const dateAndTime: Macro = (args, { from, to }) =>
  `(${between(args[0] ?? '', day(from), day(to))}) AND (${between(args[1] ?? '', seconds(from), seconds(to))})`;

/** By name, with the number of arguments it takes; `0` means that parentheses may be missing. */
const MACROS: Record<string, { arity: number; expand: Macro }> = {
  fromTime: { arity: 0, expand: (_, { from }) => seconds(from) },
  toTime: { arity: 0, expand: (_, { to }) => seconds(to) },
  fromTime_ms: { arity: 0, expand: (_, { from }) => millis(from) },
  toTime_ms: { arity: 0, expand: (_, { to }) => millis(to) },
  timeFilter: { arity: 1, expand: ([column = ''], { from, to }) => between(column, seconds(from), seconds(to)) },
  timeFilter_ms: { arity: 1, expand: ([column = ''], { from, to }) => between(column, millis(from), millis(to)) },
  dateFilter: { arity: 1, expand: ([column = ''], { from, to }) => between(column, day(from), day(to)) },
  dateTimeFilter: { arity: 2, expand: dateAndTime },
  dt: { arity: 2, expand: dateAndTime },
  timeFrom: { arity: 1, expand: ([column = ''], { from }) => `${column} >= ${seconds(from)}` },
  timeTo: { arity: 1, expand: ([column = ''], { to }) => `${column} <= ${seconds(to)}` },
  timeGroup: { arity: 2, expand: timeGroup },
  timeInterval: {
    arity: 1,
    expand: ([column = ''], { interval }) =>
      `toStartOfInterval(toDateTime(${column}), INTERVAL ${wholeSeconds(interval)} second)`,
  },
  timeInterval_ms: {
    arity: 1,
    expand: ([column = ''], { interval }) =>
      `toStartOfInterval(toDateTime64(${column}, 3), INTERVAL ${Math.floor(Math.max(interval, 1))} millisecond)`,
  },
  interval_s: { arity: 0, expand: (_, { interval }) => String(wholeSeconds(interval)) },
};

/** Macros that rewrite the whole statement; the preview does not know them and says so. */
const STATEMENT_MACROS = ['columns', 'rateColumns', 'perSecondColumns', 'increaseColumns', 'lttb', 'adHocFilters'];

/** Expands every macro in `sql`. @throws MacroError for a wrong number of arguments. */
export function expandMacros(sql: string, context: MacroContext): string {
  const text = stripComments(sql);
  const reference = /\$__(\w+)/g;
  let expanded = '';
  let at = 0;
  for (let match = reference.exec(text); match; match = reference.exec(text)) {
    const name = match[1] ?? '';
    if (STATEMENT_MACROS.includes(name)) {
      throw new MacroError(`the preview does not expand $__${name}`);
    }
    const macro = MACROS[name];
    if (!macro) {
      continue;
    }
    const { args, end } = argumentsAt(text, reference.lastIndex);
    if (args.length !== macro.arity) {
      throw new MacroError(`$__${name} takes ${macro.arity} argument(s), it has ${args.length}`);
    }
    const inner = args.map((argument) => expandMacros(argument, context));
    expanded += text.slice(at, match.index) + macro.expand(inner, context);
    at = end;
    reference.lastIndex = end;
  }
  return expanded + text.slice(at);
}

/**
 * Replaces each `$__conditionalAll(filter, $variable)` by the filter, or by `1=1` when the variable stands for
 * everything. It runs before variables are put in, because it has to see which one was meant.
 *
 * @param isAll whether the named variable is empty or set to all; `undefined` when there is none of that name
 */
export function expandConditionalAll(sql: string, isAll: (name: string) => boolean | undefined): string {
  const macro = '$__conditionalAll(';
  let text = sql;
  for (let index = text.lastIndexOf(macro); index !== -1; index = text.lastIndexOf(macro)) {
    const { args, end } = argumentsAt(text, index + macro.length - 1);
    if (args.length !== 2) {
      throw new MacroError(`$__conditionalAll takes a filter and a variable, it has ${args.length} argument(s)`);
    }
    const [filter = '', variable = ''] = args;
    const name = /(?<=\$\{)\w+(?=\})|(?<=\$)\w+/.exec(variable)?.[0];
    const phrase = name !== undefined && isAll(name) ? '1=1' : filter;
    text = text.slice(0, index) + phrase + text.slice(end);
  }
  return text;
}

/** The comma-separated arguments in the parentheses that open at `start`, and where they end. None, if none open. */
function argumentsAt(text: string, start: number): { args: string[]; end: number } {
  if (text[start] !== '(') {
    return { args: [], end: start };
  }
  const args: string[] = [];
  let depth = 0;
  let from = start + 1;
  for (let index = start; index < text.length; index += 1) {
    const character = text[index] ?? '';
    if (QUOTES.includes(character)) {
      index = endOfQuoted(text, index);
    } else if (character === '(' || character === '[') {
      depth += 1;
    } else if (character === ',' && depth === 1) {
      args.push(text.slice(from, index).trim());
      from = index + 1;
    } else if (character === ')' || character === ']') {
      depth -= 1;
      if (depth === 0) {
        const last = text.slice(from, index).trim();
        return { args: last === '' && args.length === 0 ? [] : [...args, last], end: index + 1 };
      }
    }
  }
  throw new MacroError(`a parenthesis is not closed: ${text.slice(start, start + 40)}`);
}

const QUOTES = ["'", '"', '`'];

/** Index of the quote that closes the one at `start`, or of the text's end. Backslashes escape. */
function endOfQuoted(text: string, start: number): number {
  const quote = text[start];
  for (let index = start + 1; index < text.length; index += 1) {
    if (text[index] === '\\') {
      index += 1;
    } else if (text[index] === quote) {
      return index;
    }
  }
  return text.length;
}

/** The text without `-- …` and block comments, quoted parts left as they are. */
function stripComments(sql: string): string {
  let kept = '';
  for (let index = 0; index < sql.length; index += 1) {
    const character = sql[index] ?? '';
    if (QUOTES.includes(character)) {
      const end = endOfQuoted(sql, index);
      kept += sql.slice(index, end + 1);
      index = end;
    } else if (sql.startsWith('--', index)) {
      const end = sql.indexOf('\n', index);
      index = end === -1 ? sql.length : end - 1;
    } else if (sql.startsWith('/*', index)) {
      const end = sql.indexOf('*/', index + 2);
      index = end === -1 ? sql.length : end + 1;
      kept += ' ';
    } else {
      kept += character;
    }
  }
  return kept;
}

function timeGroup(args: string[]): string {
  const written = (args[1] ?? '').replace(/['"]/g, '');
  const milliseconds = parseDuration(written);
  if (!milliseconds) {
    throw new MacroError(`$__timeGroup: \`${written}\` is no interval`);
  }
  return `toStartOfInterval(toDateTime(${args[0] ?? ''}), INTERVAL ${Math.round(milliseconds / 1000)} second)`;
}
