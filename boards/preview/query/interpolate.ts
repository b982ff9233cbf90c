/**
 * Replaces `$var`, `${var}`, `${var:format}`, `${var.path}` and `[[var]]` in a text, as Grafana's template service does.
 *
 * What a name stands for is asked of a {@link Lookup}; a name that nobody knows stays as it is, so that macros
 * (`$__timeFilter`), shell variables and typing mistakes remain visible to whoever reads the query next.
 */

/** One value, or the values of a variable with several. */
export type Value = string | number | boolean | Array<string | number | boolean>;

/** What a name stands for. */
export interface Resolved {
  value: Value;
  /** What a reader sees; the value when it is left out. */
  text?: string;
  /** Whether the value goes in as it is, whatever format was asked for, as `allValue` and `${__all_variables}` do. */
  verbatim?: boolean;
  /** What an address carries for it (`queryparam`), where that is not the value: `$__all` for all. */
  inAddress?: string[];
  /** Whether the variable can hold several values: data sources quote these differently. */
  multi?: boolean;
}

/** Answers what a name, with an optional path (`${name.path}`), stands for. */
export type Lookup = (name: string, path: string | undefined) => Resolved | undefined;

/** Writes a value in a data source's own way; used where a reference names no format. */
export type Formatter = (value: Value, resolved: Resolved) => string;

const REFERENCE = /\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}/g;

/** Puts values in for every reference in `text`. `fallback` formats those that name no format; the default is `glob`. */
export function interpolate(text: string, lookup: Lookup, fallback: Formatter | string = 'glob'): string {
  return text.replace(REFERENCE, (whole, plain, square, squareFormat, braced, path, bracedFormat) => {
    const name: string = plain ?? square ?? braced;
    const asked: string | undefined = bracedFormat ?? squareFormat;
    const resolved = lookup(name, path);
    if (!resolved) {
      return whole;
    }
    if (asked === undefined && typeof fallback === 'function') {
      return resolved.verbatim ? String(resolved.value) : fallback(resolved.value, resolved);
    }
    const format = asked ?? (typeof fallback === 'string' ? fallback : 'glob');
    const keepsAllValue = format !== 'text' && format !== 'queryparam' && format !== 'percentencode';
    if (resolved.verbatim && keepsAllValue) {
      return String(resolved.value);
    }
    return formatValue(resolved, format, name);
  });
}

/** Asks several lookups in turn; the first that knows the name answers. */
export function firstOf(...lookups: Lookup[]): Lookup {
  return (name, path) => {
    for (const lookup of lookups) {
      const resolved = lookup(name, path);
      if (resolved) {
        return resolved;
      }
    }
    return undefined;
  };
}

/** Writes a value in one of Grafana's formats. An unknown format is treated as `glob`, which is what Grafana does. */
export function formatValue(resolved: Resolved, format: string, name: string): string {
  const { value } = resolved;
  const list = Array.isArray(value) ? value.map(String) : [String(value)];
  const single = !Array.isArray(value);
  const [kind = '', ...args] = format.split(':');
  switch (kind) {
    case 'raw':
    case 'csv':
      return list.join(',');
    case 'pipe':
      return list.join('|');
    case 'regex': {
      const escaped = list.map(escapeRegex);
      return escaped.length === 1 ? (escaped[0] ?? '') : `(${escaped.join('|')})`;
    }
    case 'lucene': {
      const quoted = list.map((item) => `"${escapeLucene(item)}"`);
      return single ? escapeLucene(list[0] ?? '') : list.length === 0 ? '__empty__' : `(${quoted.join(' OR ')})`;
    }
    case 'sqlstring':
      return list.map((item) => `'${item.replace(/'/g, "''")}'`).join(',');
    case 'singlequote':
      return list.map((item) => `'${item.replace(/'/g, "\\'")}'`).join(',');
    case 'doublequote':
      return list.map((item) => `"${item.replace(/"/g, '\\"')}"`).join(',');
    case 'json':
      return single && typeof value === 'string' ? value : JSON.stringify(value);
    case 'join':
      return list.join(args[0] ?? ',');
    case 'distributed':
      return list.map((item, index) => (index === 0 ? item : `${name}=${item}`)).join(',');
    case 'percentencode':
      return single ? encodeStrict(list[0] ?? '') : encodeStrict(`{${list.join(',')}}`);
    case 'uriencode':
      return single ? encodeUri(list[0] ?? '') : encodeUri(`{${list.join(',')}}`);
    case 'queryparam':
      return queryParameters(name, resolved.inAddress ?? list);
    case 'customqueryparam':
      return list.map((item) => `${encodeStrict(args[0] ?? name)}=${encodeStrict((args[1] ?? '') + item)}`).join('&');
    case 'html':
      return list.map(escapeHtml).join(', ');
    case 'text':
      return resolved.text ?? list.join(' + ');
    case 'date':
      return formatDate(Number(list[0]), args.join(':'));
    default:
      return list.length > 1 ? `{${list.join(',')}}` : (list[0] ?? '');
  }
}

/** `var-name=value` for each value, encoded for an address. */
export function queryParameters(name: string, values: string[]): string {
  return values.map((value) => `var-${name}=${encodeStrict(value)}`).join('&');
}

/** Escapes what a regular expression would read. */
export function escapeRegex(text: string): string {
  return text.replace(/[\\^$*+?.()|[\]{}/]/g, '\\$&');
}

/** Escapes what HTML would read. */
export function escapeHtml(text: string): string {
  return text
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/"/g, '&quot;')
    .replace(/'/g, '&#39;');
}

/** Encodes everything but letters, digits and `-_.~`: fit for a parameter's value. */
export function encodeStrict(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, percent);
}

function encodeUri(text: string): string {
  return encodeURI(text).replace(/[!'()*]/g, percent);
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
}

function escapeLucene(text: string): string {
  return text.replace(/([!*+\-=<>\s&|()[\]{}^~?:\\/"])/g, '\\$1');
}

/** `iso` (the default), `seconds`, or a pattern of YYYY, MM, DD, HH, mm, ss, SSS in UTC. */
function formatDate(milliseconds: number, pattern: string): string {
  const date = new Date(milliseconds);
  if (pattern === '' || pattern === 'iso') {
    return date.toISOString();
  }
  if (pattern === 'seconds') {
    return String(Math.round(milliseconds / 1000));
  }
  const pad = (number: number, width = 2) => String(number).padStart(width, '0');
  const parts: Record<string, string> = {
    YYYY: pad(date.getUTCFullYear(), 4),
    MM: pad(date.getUTCMonth() + 1),
    DD: pad(date.getUTCDate()),
    HH: pad(date.getUTCHours()),
    mm: pad(date.getUTCMinutes()),
    ss: pad(date.getUTCSeconds()),
    SSS: pad(date.getUTCMilliseconds(), 3),
  };
  return pattern.replace(/YYYY|MM|DD|HH|mm|ss|SSS/g, (part) => parts[part] ?? part);
}
