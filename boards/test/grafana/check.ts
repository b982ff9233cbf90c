/**
 * Asks a real Grafana whether it has every dashboard, and runs each query through it, as its page would.
 *
 * Variables are put in here, as the page does; macros and `$__interval` are left to Grafana's server. A query that finds nothing is
 * named and is no problem; one that Grafana refuses, or answers with an error or without frames, is.
 */
import {
  builtInLookup,
  choose,
  firstOf,
  interpolate,
  panelsOf,
  quoteForPromql,
  targetsOf,
  variableLookup,
  type Option,
  type Panel,
  type Range,
  type Target,
  type VariableModel,
  type Variables,
} from '../../preview/query/index.ts';
import type { Board } from '../lint/index.ts';

/** Where Grafana is, and as whom it is asked. */
export interface Grafana {
  /** Base address; a user and a password in it are sent as such. */
  url: string;
  /** Token of a service account. */
  token?: string;
}

/** What was found. */
export interface Report {
  version: string;
  boards: number;
  queries: number;
  /** Queries without data. */
  empty: string[];
  problems: string[];
}

interface Frame {
  data?: { values?: unknown[][] };
}

interface Results {
  results?: Record<string, { status?: number; error?: string; frames?: Frame[] }>;
  message?: string;
}

type Known = { range: Range; variables: Variables };

/** Points of a graph, and the step between them over six hours. */
const POINTS = { maxDataPoints: 720, intervalMs: 30_000 };
/** The fixed uids of the data sources that boards are provisioned with, with their types. */
const DATA_SOURCES: Record<string, string> = { mimir: 'prometheus', clickhouse: 'grafana-clickhouse-datasource' };
/** What a request to Grafana may take, in milliseconds. */
const PATIENCE = 30_000;

/** Checks everything. @throws Error when Grafana cannot be asked at all */
export async function checkGrafana(grafana: Grafana, boards: Board[], range: Range): Promise<Report> {
  const health = await ask<{ version?: string; database?: string }>(grafana, 'GET', '/api/health');
  if (health.status !== 200) {
    throw new Error(`${grafana.url} answers ${health.status} to /api/health: is it Grafana?`);
  }
  const report: Report = { version: health.body.version ?? 'unknown', boards: 0, queries: 0, empty: [], problems: [] };
  for (const [uid, type] of Object.entries(DATA_SOURCES)) {
    const found = await ask<{ type?: string; message?: string }>(grafana, 'GET', `/api/datasources/uid/${uid}`);
    if (found.status !== 200 || found.body.type !== type) {
      const what =
        found.status === 200 ? `is of type ${found.body.type}` : `${found.status} ${found.body.message ?? ''}`;
      report.problems.push(`data source ${uid}: ${what.trim()}; it has to be a ${type}`);
    }
  }
  for (const board of boards) {
    await checkBoard(grafana, board, range, report);
  }
  return report;
}

async function checkBoard(grafana: Grafana, board: Board, range: Range, report: Report): Promise<void> {
  type Answer = { dashboard?: { title?: string; panels?: unknown[] }; message?: string };
  const { status, body } = await ask<Answer>(grafana, 'GET', `/api/dashboards/uid/${board.uid}`);
  if (status !== 200) {
    report.problems.push(`board ${board.uid}: ${status} ${body.message ?? ''}`.trim());
    return;
  }
  report.boards += 1;
  const [has, wanted] = [body.dashboard?.panels?.length ?? 0, board.panels.length];
  if (body.dashboard?.title !== board.title || has !== wanted) {
    report.problems.push(
      `board ${board.uid}: it is "${body.dashboard?.title}" with ${has} panels, not "${board.title}" with ${wanted}`,
    );
  }
  const variables = await variablesOf(grafana, board, range, report);
  for (const panel of panelsOf(board)) {
    for (const target of targetsOf(panel)) {
      await checkQuery(grafana, board, panel, target, { range, variables }, report);
    }
  }
}

async function checkQuery(
  grafana: Grafana,
  board: Board,
  panel: Panel,
  target: Target,
  known: Known,
  report: Report,
): Promise<void> {
  const name = `${board.uid}, ${panel.title ?? panel.type}, query ${target.refId}`;
  report.queries += 1;
  const answer = await query(grafana, filledIn(target, known), known.range);
  if ('problem' in answer) {
    report.problems.push(`${name}: ${answer.problem}`);
  } else if (!answer.frames.some((frame) => frame.data?.values?.some((column) => column.length > 0))) {
    report.empty.push(name);
  }
}

/** The query as the page sends it: variables are in, and what is Grafana's own is not. */
export function filledIn(target: Target, { range, variables }: Known): Target {
  const lookup = firstOf(variableLookup(variables), (name, path) =>
    name === '__from' || name === '__to' ? builtInLookup({ range, variables })(name, path) : undefined,
  );
  const text = (value: unknown, inPromql: boolean) =>
    interpolate(String(value), lookup, inPromql ? quoteForPromql : 'raw');
  const uid = text(target.datasource?.uid ?? '', false);
  return {
    ...target,
    ...POINTS,
    datasource: { ...target.datasource, uid },
    ...(target['rawSql'] === undefined ? {} : { rawSql: text(target['rawSql'], false) }),
    ...(target['expr'] === undefined ? {} : { expr: text(target['expr'], true) }),
  };
}

/** Every variable with its choices, those of ClickHouse asked for through Grafana. */
async function variablesOf(grafana: Grafana, board: Board, range: Range, report: Report): Promise<Variables> {
  const variables: Variables = new Map();
  for (const model of board.templating?.list ?? []) {
    variables.set(model.name, choose(model, await choices(grafana, board, model, { range, variables }, report)));
  }
  return variables;
}

async function choices(
  grafana: Grafana,
  board: Board,
  model: VariableModel,
  known: Known,
  report: Report,
): Promise<Option[]> {
  if (model.type === 'datasource') {
    const uid = Object.keys(DATA_SOURCES).find((each) => DATA_SOURCES[each] === model.query) ?? '';
    return [{ text: uid, value: uid }];
  }
  // One that stands for everything by a pattern needs no choices.
  if (model.type !== 'query' || typeof model.query !== 'string' || model.allValue) {
    return [];
  }
  const asTable = { format: 1, queryType: 'table', editorType: 'sql' };
  const target: Target = { refId: 'variable', datasource: model.datasource, rawSql: model.query, ...asTable };
  report.queries += 1;
  const answer = await query(grafana, filledIn(target, known), known.range);
  if ('problem' in answer) {
    report.problems.push(`${board.uid}, variable ${model.name}: ${answer.problem}`);
    return [];
  }
  return (answer.frames[0]?.data?.values?.[0] ?? []).map(String).map((value) => ({ text: value, value }));
}

async function query(
  grafana: Grafana,
  target: Target,
  range: Range,
): Promise<{ frames: Frame[] } | { problem: string }> {
  const times = { from: String(range.from), to: String(range.to) };
  const { status, body } = await ask<Results>(grafana, 'POST', '/api/ds/query', { queries: [target], ...times });
  const result = body.results?.[target.refId];
  const failure = result?.error ?? (status === 200 ? undefined : (body.message ?? 'no reason is given'));
  if (failure !== undefined) {
    return { problem: `${status} ${failure}` };
  }
  return Array.isArray(result?.frames) ? { frames: result.frames } : { problem: '200, and no frames' };
}

async function ask<T>(
  { url, token }: Grafana,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: T }> {
  const base = new URL(url);
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (token) {
    headers['authorization'] = `Bearer ${token}`;
  } else if (base.username) {
    const user = `${decodeURIComponent(base.username)}:${decodeURIComponent(base.password)}`;
    headers['authorization'] = `Basic ${Buffer.from(user).toString('base64')}`;
  }
  [base.username, base.password] = ['', ''];
  const address = `${base.href.replace(/\/$/, '')}${path}`;
  const text = body === undefined ? {} : { body: JSON.stringify(body) };
  const sent = fetch(address, { method, headers, signal: AbortSignal.timeout(PATIENCE), ...text });
  const reply = await sent.catch((cause: unknown) => {
    throw new Error(`${method} ${address}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  });
  const answer = await reply.text();
  try {
    return { status: reply.status, body: JSON.parse(answer) as T };
  } catch {
    return { status: reply.status, body: { message: answer.slice(0, 200) } as T };
  }
}

/** Whether all is well, and all that is to be said. */
export function inWords({ version, boards, queries, empty, problems }: Report): string {
  const counts = `${boards} boards, ${queries} queries, ${empty.length} without data, ${problems.length} problems`;
  const lines = [...problems.map((text) => `problem: ${text}`), ...empty.map((text) => `no data: ${text}`)];
  return [`Grafana ${version}: ${counts}`, ...lines].join('\n');
}
