/** What alerts lead to is there: a page of the runbook, a panel, and metrics that the programs export. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { everyPanel, everyQuery, promqlOf, textsOf, type Board } from './lint/finding.ts';
import { readBoards } from './lint/index.ts';
import { metricsOf } from './metric-names.ts';
import { ROOT, ruleFiles, rulesOf, type Rule } from './promtool.ts';

const RUNBOOK = readFileSync(join(ROOT, 'docs', 'runbook.md'), 'utf8');
const [SITUATIONS = '', ALERT_PAGES = ''] = RUNBOOK.split('\n# Alerts\n');
const RULES = rulesOf(ruleFiles());
const BOARDS = readBoards();

/** An alert with its annotations. */
const ALERTS = RULES.flatMap((rule) => (rule.alert === undefined ? [] : [{ ...rule, name: rule.alert }]));

/** The anchor that GitHub gives a heading. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\w\s-]/g, '')
    .trim()
    .replace(/\s/g, '-');

const headings = (text: string, levels = '#{1,6}') =>
  [...text.matchAll(new RegExp(`^${levels} (.+)$`, 'gm'))].map((match) => match[1] ?? '');

/** The text below the heading of an alert. */
const page = (name: string) => ALERT_PAGES.split(/^## /m).find((section) => section.startsWith(`${name}\n`));

function panelOf({ annotations }: Rule): { board: Board; title: string } {
  const board = BOARDS.find(({ uid }) => uid === annotations?.['__dashboardUid__']);
  assert.ok(board, `no board ${annotations?.['__dashboardUid__']}`);
  const panel = everyPanel(board).find(({ id }) => String(id) === annotations?.['__panelId__']);
  assert.ok(panel?.title, `no panel ${annotations?.['__panelId__']} on ${board.uid}`);
  return { board, title: panel.title };
}

describe('an alert leads to its page and panel', () => {
  for (const alert of ALERTS) {
    test(alert.name, () => {
      assert.equal(alert.annotations?.['runbook_url'], `docs/runbook.md#${anchor(alert.name)}`);
      const text = page(alert.name);
      assert.ok(text, `docs/runbook.md has no heading "## ${alert.name}" under Alerts`);
      const { board, title } = panelOf(alert);
      const severity = alert.labels?.['severity'] ?? '';
      const first = `${severity[0]?.toUpperCase()}${severity.slice(1)}, ${alert.labels?.['owner']}. Panel *${title}* of *${board['title']}*.`;
      assert.equal(text.split('\n')[2], first);
      assert.match(text, /```sh\n|Look as for/, 'a page says what to run');
      assert.match(text, /It is over/, 'a page says when it is over');
      assert.match(text, /Wake |Nobody has to be woken/, 'a page says whom else to wake');
    });
  }

  test('no page is of an alert that is gone', () => {
    assert.deepEqual(
      headings(ALERT_PAGES, '##'),
      ALERTS.map(({ name }) => name),
    );
  });
});

test('links of the runbook lead somewhere', () => {
  const own = new Set(headings(RUNBOOK).map(anchor));
  for (const [, target = ''] of RUNBOOK.matchAll(/\]\(([^)]+)\)/g)) {
    const [file = '', heading] = target.split('#');
    const path = join(ROOT, 'docs', file);
    assert.ok(file === '' || existsSync(path), target);
    const known = file === '' ? own : new Set(headings(readFileSync(path, 'utf8')).map(anchor));
    assert.ok(heading === undefined || known.has(heading), `no heading for ${target}`);
  }
  assert.ok(SITUATIONS.includes('\n## The lag grows\n'));
});

/** Names that a scraper sees; a histogram has three. */
function exported(): Set<string> {
  const lines = readFileSync(join(import.meta.dirname, 'exported-metrics.txt'), 'utf8')
    .trimEnd()
    .split('\n');
  assert.deepEqual(lines, [...new Set(lines)].sort(), 'sorted, each once');
  return new Set(
    lines.flatMap((line) => {
      const [name = '', type] = line.split(' ');
      assert.match(line, /^[a-z_]+ (counter|gauge|histogram|info)$/);
      return type === 'histogram' ? ['_bucket', '_sum', '_count'].map((part) => name + part) : [name];
    }),
  );
}

describe('metrics that are asked for exist', () => {
  // The ruler itself writes the first; the others are recorded.
  const known = new Set([...exported(), 'ALERTS', ...RULES.flatMap(({ record }) => record ?? [])]);

  test('in rules', () => {
    for (const { alert, record, expr } of RULES) {
      const unknown = metricsOf(expr).filter((name) => !known.has(name));
      assert.deepEqual(unknown, [], alert ?? record);
    }
  });

  for (const board of BOARDS) {
    test(`on ${board.uid}`, () => {
      const queries = everyQuery(board).flatMap(({ target }) => promqlOf(target) ?? []);
      const variables = textsOf(board.templating).flatMap(
        (text) => /^label_values\((.+), *\w+\)$/.exec(text)?.[1] ?? [],
      );
      const unknown = [...queries, ...variables].flatMap(metricsOf).filter((name) => !known.has(name));
      assert.deepEqual([...new Set(unknown)], []);
    });
  }

  test('in documents', () => {
    const folder = join(ROOT, 'docs');
    const files = ['README.md', 'ARCHITECTURE.md', 'INCIDENT.md'].map((name) => join(ROOT, name));
    files.push(...readdirSync(folder).flatMap((name) => (name.endsWith('.md') ? [join(folder, name)] : [])));
    const checked = new Set<string>();
    for (const file of files) {
      const codes = [...readFileSync(file, 'utf8').matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '');
      const names = codes.flatMap((code) => [...code.matchAll(NAMES)].map((match) => match[0]));
      const unknown = names.filter((name) => !isKnown(name, known));
      assert.deepEqual([...new Set(unknown)], [], file);
      names.forEach((name) => checked.add(name));
    }
    assert.ok(checked.size > 40, `only ${checked.size} names were found`);
  });
});

/** What can only be a metric in code of a document. */
const NAMES =
  /\b(?:(?:edge|hub|telemetry)_[a-z]+_[a-z_]+|(?:menu|span|process)_[a-z_]+_(?:total|seconds|bytes)|(?:ready|degraded)_condition|(?:orders?|broker|canary|gateway)_[a-z_]+_(?:total|seconds|messages|members|offset|residual))\b/g;

/** A document may also speak of a histogram as a whole, or of all names that begin in a way. */
const isKnown = (name: string, known: Set<string>) =>
  known.has(name) ||
  known.has(`${name}_count`) ||
  (name.endsWith('_') && [...known].some((each) => each.startsWith(name)));
