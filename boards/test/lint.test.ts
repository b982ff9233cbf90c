/** The generated dashboards keep every rule, and every rule sees a board that breaks it. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { everyPanel } from './lint/finding.ts';
import { DASHBOARDS, RULES, lint, needless, readBoards, type Finding } from './lint/index.ts';
import { MUTATIONS } from './lint/mutations.ts';

const line = ({ rule, board, subject, text }: Finding) => `${rule}: ${board}, ${subject}: ${text}`;

test('dashboards keep every rule', () => {
  assert.deepEqual(lint(readBoards()).map(line), []);
});

test('no exception is left over', () => {
  assert.deepEqual(needless(readBoards()), []);
});

describe('a rule refuses what breaks it, and no other rule does', () => {
  for (const { rule, what, board: uid, change } of MUTATIONS) {
    test(`${rule}: ${what}`, () => {
      const boards = readBoards();
      const board = boards.find((each) => each.uid === uid);
      assert.ok(board);
      change(board);
      const found = lint(boards);
      assert.deepEqual([...new Set(found.map((finding) => finding.rule))], [rule], found.map(line).join('\n'));
    });
  }
});

test('every rule has a board that breaks it', () => {
  const broken = new Set(MUTATIONS.map(({ rule }) => rule));
  assert.deepEqual(
    Object.keys(RULES).filter((rule) => !broken.has(rule)),
    [],
  );
});

test('every alert links to a panel that is there', () => {
  const panels = new Set(readBoards().flatMap((board) => everyPanel(board).map(({ id }) => `${board.uid} ${id}`)));
  const folder = join(DASHBOARDS, 'rules');
  type Rules = { groups: { rules: { alert?: string; annotations?: Record<string, string> }[] }[] };
  const alerts = readdirSync(folder)
    .flatMap((name) => (parse(readFileSync(join(folder, name), 'utf8')) as Rules).groups)
    .flatMap(({ rules }) => rules.filter(({ alert }) => alert !== undefined));
  assert.ok(alerts.length > 0);
  for (const { alert, annotations } of alerts) {
    const panel = `${annotations?.['__dashboardUid__']} ${annotations?.['__panelId__']}`;
    assert.ok(panels.has(panel), `${alert} links to ${panel}`);
  }
});
