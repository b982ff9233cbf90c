/**
 * Resolves the links of panels, fields and dashboards.
 *
 * A link of a field reads the row that it stands in: `${__data.fields["id"]}`, `${__value.raw}`, `${__field.labels.x}`.
 */
import type { DataFrame, DisplayValue, Field } from '@grafana/data';
import { allVariables, builtInLookup, variableLookup, type QueryContext } from './context.ts';
import { firstOf, interpolate, type Lookup, type Resolved } from './interpolate.ts';
import type { DashboardLink } from './model.ts';

/** What links are resolved with. */
export type LinkContext = Pick<QueryContext, 'range' | 'variables' | 'board'>;

/** The cell that a link belongs to. */
export interface Cell {
  frame: DataFrame;
  field: Field;
  rowIndex?: number;
  /** The value where it was computed from many rows, as a stat's is. */
  calculated?: DisplayValue;
}

/** The address of a field's link. What goes into an address is encoded for it. */
export function dataLink(url: string, cell: Cell, context: LinkContext): string {
  const text = url.replace(/\n/g, '').trim();
  return safeAddress(interpolate(text, lookupIn(cell, context), 'uriencode'));
}

/** The title of a field's link. */
export function dataLinkTitle(title: string, cell: Cell, context: LinkContext): string {
  return interpolate(title, lookupIn(cell, context), 'text');
}

/** The address of a panel's or a dashboard's link; with `keepTime` and `includeVars` it carries range and variables. */
export function boardLink(link: DashboardLink, url: string, context: LinkContext): string {
  const lookup = firstOf(builtInLookup(context), variableLookup(context.variables));
  const address = interpolate(url, lookup, 'uriencode');
  const additions = [
    link.keepTime ? interpolate('${__url_time_range}', lookup) : '',
    link.includeVars ? allVariables(context.variables) : '',
  ].filter(Boolean);
  if (additions.length === 0) {
    return safeAddress(address);
  }
  return safeAddress(`${address}${address.includes('?') ? '&' : '?'}${additions.join('&')}`);
}

/** Names that a link in a cell may use, beside variables. */
export function lookupIn(cell: Cell, context: LinkContext): Lookup {
  return firstOf(
    (name, path) => cellLookup(cell, name, path),
    builtInLookup(context),
    variableLookup(context.variables),
  );
}

/** An address that leads to a page; a script or another scheme leads nowhere. */
export function safeAddress(address: string): string {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(address.replace(/[\u0000-\u0020]/g, ''))?.[1]?.toLowerCase();
  return scheme === undefined || ['http', 'https', 'mailto'].includes(scheme) ? address : 'about:blank';
}

function cellLookup(cell: Cell, name: string, path: string | undefined): Resolved | undefined {
  switch (name) {
    case '__value':
      return valueOf(cell, path);
    case '__field':
      return fieldOf(cell.field, path);
    case '__series':
      return path === 'name' ? { value: cell.field.state?.displayName ?? cell.frame.name ?? '' } : undefined;
    case '__data':
      return dataOf(cell, path ?? '');
    default:
      return undefined;
  }
}

function valueOf({ field, rowIndex, calculated }: Cell, path: string | undefined): Resolved {
  const raw: unknown = calculated && rowIndex === undefined ? calculated.numeric : field.values[rowIndex ?? 0];
  switch (path) {
    case 'numeric':
      return { value: calculated?.numeric ?? Number(raw) };
    case 'text':
      return { value: calculated?.text ?? shown(field, raw) };
    case 'time':
      return { value: '' };
    default:
      return { value: text(raw) };
  }
}

function fieldOf(field: Field, path: string | undefined): Resolved | undefined {
  if (path === 'name' || path === undefined) {
    return { value: field.state?.displayName ?? field.config.displayName ?? field.name };
  }
  const label = /^labels(?:\.(.+)|\[["']?(.+?)["']?\])$/.exec(path);
  if (label) {
    return { value: field.labels?.[label[1] ?? label[2] ?? ''] ?? '' };
  }
  return path === 'labels'
    ? {
        value: Object.entries(field.labels ?? {})
          .map(([key, value]) => `${key}="${value}"`)
          .join(', '),
      }
    : undefined;
}

function dataOf({ frame, rowIndex = 0 }: Cell, path: string): Resolved | undefined {
  if (path === 'name') {
    return { value: frame.name ?? '' };
  }
  if (path === 'refId') {
    return { value: frame.refId ?? '' };
  }
  const match = /^fields(?:\[(?:["'](.+?)["']|(\d+))\]|\.([^.[\]]+))(?:\.(text|numeric|time))?$/.exec(path);
  if (!match) {
    return undefined;
  }
  const wanted = match[1] ?? match[3];
  const found =
    wanted === undefined
      ? frame.fields[Number(match[2])]
      : frame.fields.find(
          (each) => each.name === wanted || each.config.displayName === wanted || each.state?.displayName === wanted,
        );
  if (!found) {
    return { value: '' };
  }
  const raw: unknown = found.values[rowIndex];
  return { value: match[4] === 'text' ? shown(found, raw) : match[4] === 'numeric' ? Number(raw) : text(raw) };
}

function shown(field: Field, raw: unknown): string {
  const display = field.display?.(raw);
  return display ? `${display.prefix ?? ''}${display.text}${display.suffix ?? ''}` : text(raw);
}

function text(raw: unknown): string {
  return raw === null || raw === undefined ? '' : typeof raw === 'object' ? JSON.stringify(raw) : String(raw);
}
