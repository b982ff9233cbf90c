/**
 * What an address says of a board's state: `?from=now-6h&to=now&var-route=list&viewPanel=3&kiosk`.
 */
import { allVariables, type Variables } from './context.ts';
import type { Chosen } from './variables.ts';

/** The state that a link to a board carries. */
export interface BoardState {
  from?: string;
  to?: string;
  /** Time between refreshes, such as `30s`; empty for none. */
  refresh?: string;
  /** The one panel that is shown. */
  viewPanel?: number;
  kiosk: boolean;
  theme?: 'light' | 'dark';
  chosen: Chosen;
}

/** Reads a query string. */
export function parseAddress(search: string): BoardState {
  const parameters = new URLSearchParams(search);
  const chosen: Chosen = {};
  for (const [key, value] of parameters) {
    if (key.startsWith('var-')) {
      (chosen[key.slice(4)] ??= []).push(value);
    }
  }
  const viewPanel = /^(?:panel-)?(\d+)$/.exec(parameters.get('viewPanel') ?? '')?.[1];
  const theme = parameters.get('theme');
  return {
    ...optional('from', parameters.get('from')),
    ...optional('to', parameters.get('to')),
    ...optional('refresh', parameters.get('refresh')),
    ...(viewPanel ? { viewPanel: Number(viewPanel) } : {}),
    kiosk: parameters.has('kiosk'),
    ...(theme === 'light' || theme === 'dark' ? { theme } : {}),
    chosen,
  };
}

/** Writes the query string of a state; variables come from what they resolved to. */
export function formatAddress(state: Omit<BoardState, 'chosen'>, variables: Variables): string {
  const parameters = new URLSearchParams();
  for (const key of ['from', 'to', 'refresh', 'theme'] as const) {
    const value = state[key];
    if (value) {
      parameters.set(key, value);
    }
  }
  if (state.viewPanel !== undefined) {
    parameters.set('viewPanel', String(state.viewPanel));
  }
  const parts = [parameters.toString(), allVariables(variables), state.kiosk ? 'kiosk' : ''];
  return parts.filter(Boolean).join('&');
}

function optional<K extends string>(key: K, value: string | null): { [P in K]?: string } {
  return value ? ({ [key]: value } as { [P in K]?: string }) : {};
}
