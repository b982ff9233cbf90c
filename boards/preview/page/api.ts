/**
 * What the page asks of its own server.
 */
import type { Http, Source } from '../query/index.ts';

/** One line of the list of boards. */
export interface BoardSummary {
  uid: string;
  title: string;
  description: string;
  tags: string[];
}

/** What the server tells once. */
export interface PageConfig {
  sources: Source[];
  boards: BoardSummary[];
}

/** Sources and boards. */
export function loadConfig(): Promise<PageConfig> {
  return getJson<PageConfig>('/api/config');
}

/** A dashboard's JSON as it is on disk now. */
export function loadBoard(uid: string): Promise<object> {
  return getJson<object>(`/api/boards/${encodeURIComponent(uid)}`);
}

/** Fetches relative to the page, until the signal ends it. */
export function pageHttp(signal: AbortSignal): Http {
  return { fetch: (input, init) => fetch(input, init), base: window.location.origin, signal };
}

async function getJson<T>(path: string): Promise<T> {
  const response = await fetch(path);
  if (!response.ok) {
    throw new Error((await response.text()) || `${path} answered ${response.status}`);
  }
  return (await response.json()) as T;
}
