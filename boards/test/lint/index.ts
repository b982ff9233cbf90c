/**
 * The lint of dashboards: every rule of `RULES`, but for what `EXCEPTIONS` allows with a reason.
 *
 * It knows nothing of how a dashboard was generated, and reads the JSON that Grafana gets.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { loadDashboard, type Panel } from '../../preview/query/index.ts';
import { EXCEPTIONS, type Exception } from './exceptions.ts';
import type { Board, Finding, Rule } from './finding.ts';
import { LINKS } from './links.ts';
import { PANELS } from './panels.ts';
import { PROMQL } from './promql.ts';
import { SEMANTIC } from './semantic.ts';
import { SQL } from './sql.ts';
import { STRUCTURE } from './structure.ts';
import { VARIABLES } from './variables.ts';

export type { Board, Finding } from './finding.ts';

export const DASHBOARDS = join(import.meta.dirname, '..', '..', '..', 'dashboards');

export const RULES: Record<string, Rule> = {
  ...STRUCTURE,
  ...PANELS,
  ...SEMANTIC,
  ...VARIABLES,
  ...PROMQL,
  ...SQL,
  ...LINKS,
};

/** The generated dashboards, read anew. */
export function readBoards(folder = DASHBOARDS): Board[] {
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return files.sort().map((name) => loadDashboard(readFileSync(join(folder, name), 'utf8')) as Board);
}

/** Boards that have data wherever there is a line. That of incidents has some only where the order flow runs (docs/orders.md). */
export const boardsOfEveryLine = (): Board[] => readBoards().filter(({ uid }) => uid !== 'incident');

/** What is not as it should be, on all of the boards. */
export function lint(boards: Board[]): Finding[] {
  return findings(boards).filter((finding) => !EXCEPTIONS.some((exception) => allows(exception, finding)));
}

/** Exceptions that nothing needs any more. */
export function needless(boards: Board[]): Exception[] {
  const found = findings(boards);
  return EXCEPTIONS.filter((exception) => !found.some((finding) => allows(exception, finding)));
}

function findings(boards: Board[]): Finding[] {
  const found: Finding[] = [];
  for (const board of boards) {
    for (const [rule, check] of Object.entries(RULES)) {
      const report = (about: Panel | string, text: string) =>
        found.push({ rule, board: board.uid, subject: nameOf(about), text });
      check(board, report, boards);
    }
  }
  return found;
}

function nameOf(about: Panel | string): string {
  return typeof about === 'string' ? about : about.title || `panel ${about.id}`;
}

function allows({ rule, subject, about }: Exception, finding: Finding): boolean {
  const isMeant = subject === undefined || subject.includes(finding.subject);
  return finding.rule === rule && isMeant && (about === undefined || about.test(finding.text));
}
