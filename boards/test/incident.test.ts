/** INCIDENT.md says what the files say: its alerts, numbers, metrics and links are there, and it keeps its length. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { DETECTIONS } from '../src/rules/scenes/orders/losses.ts';
import { seconds } from '../src/rules/scenes/plan.ts';
import { BURN, CONFIRMATION, ORDERS } from '../src/semantic/slo.ts';
import { ROOT, ruleFiles, rulesOf, type Rule } from './promtool.ts';

const TEXT = readFileSync(join(ROOT, 'INCIDENT.md'), 'utf8');
const [BODY = '', APPENDICES = ''] = TEXT.split('\n# Appendices\n');
const QUESTIONS = BODY.split(/^## /m).slice(1);
const RULES = new Map(rulesOf(ruleFiles()).flatMap((rule) => (rule.alert ? [[rule.alert, rule] as const] : [])));

/** Names in the document that can only be alerts. */
const ALERT_NAMES =
  /\b(?:Order|Orders|Menu)[A-Z]\w+\b|\b(?:Watchdog|(?:Audit|Data|Hubs|Edges|Partition|HeadRoom|Completeness)[A-Z]\w+)\b/g;

/** The section of a heading, to the next one of its level. */
function section(heading: string): string {
  const found = TEXT.split(/^## /m).find((text) => text.startsWith(`${heading}\n`));
  assert.ok(found, `no section "${heading}"`);
  return found;
}

/** Rows of a table as cells by column; tables are found by the first of their columns. */
function table(text: string, ...columns: string[]): Record<string, string>[] {
  const cells = (line: string) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
  const lines = text.split('\n');
  const head = lines.findIndex((line) => columns.every((column) => cells(line).includes(column)));
  assert.ok(head >= 0, `no table with the columns ${columns.join(', ')}`);
  const names = cells(lines[head] ?? '');
  const rows = lines.slice(head + 2);
  const end = rows.findIndex((line) => !line.startsWith('|'));
  return rows
    .slice(0, end < 0 ? undefined : end)
    .map((line) => Object.fromEntries(cells(line).map((cell, index) => [names[index] ?? '', cell])));
}

/** The anchor that GitHub gives a heading. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\w\s-]/g, '')
    .trim()
    .replace(/\s/g, '-');

const anchors = (markdown: string) => [...markdown.matchAll(/^#{1,6} (.+)$/gm)].map((match) => anchor(match[1] ?? ''));

const wordsOf = (text: string) =>
  text
    .replace(/\]\([^)]*\)/g, ']')
    .split(/\s+/)
    .filter((word) => /[\p{L}\p{N}]/u.test(word)).length;

const sentencesOf = (text: string) => text.match(/[.?!](?=\s|$)/g)?.length ?? 0;

test('it has four answers, in at most six sentences each, at the head of their sections', () => {
  assert.equal(QUESTIONS.length, 4);
  for (const [index, question] of QUESTIONS.entries()) {
    assert.ok(question.startsWith(`Question ${index + 1}: `), question.slice(0, 40));
    const answer = question.split('\n\n')[1] ?? '';
    assert.ok(answer.startsWith('**Answer.** '), answer.slice(0, 40));
    const sentences = sentencesOf(answer.replace('**Answer.** ', ''));
    assert.ok(sentences >= 3 && sentences <= 6, `question ${index + 1}: ${sentences} sentences`);
  }
});

test('the body is three pages, without commands', () => {
  assert.ok(wordsOf(BODY) <= 2200, `${wordsOf(BODY)} words`);
  assert.doesNotMatch(BODY, /```|\b(kubectl|curl|rabbitmqctl|kafka-\w+\.sh|hub-consumer)\b/);
});

test('it says what it has to', () => {
  const [first = '', , third = '', fourth = ''] = QUESTIONS;
  assert.match(BODY.split('\n').slice(0, 6).join('\n'), /SEV-1/);
  const theories = table(first, 'A: acknowledged, then lost in the consumer (about 35 %)');
  const aspects = theories.map((row) => row['']);
  assert.equal(Object.keys(theories[0] ?? {}).length, 3, 'two theories in the body');
  assert.equal(aspects.filter((aspect) => aspect?.startsWith('Fits')).length, 4);
  for (const aspect of ['Why now, without a deployment', 'Confirms', 'Denies', 'Fastest safe check']) {
    assert.ok(aspects.includes(aspect), aspect);
  }
  const decisive = table(third, '#', 'to whom', 'question', 'why', 'a good answer', 'what I decide');
  const remaining = table(section('Appendix I: the remaining questions'), '#', 'to whom', 'question');
  const numbers = [...decisive, ...remaining].map((row) => Number(row['#']));
  assert.deepEqual(
    numbers,
    Array.from({ length: 30 }, (_, index) => index + 1),
  );
  assert.equal(decisive.length, 12);
  const others = table(section('Appendix D: the other theories'), '#', 'theory');
  assert.deepEqual(
    others.map((row) => row['#']),
    ['3', '4', '5', '6', '7', '8'],
  );
  const weights = [...(first + section('Appendix D: the other theories')).matchAll(/\(about (\d+) %\)/g)];
  assert.equal(
    weights.reduce((sum, [, weight]) => sum + Number(weight), 0),
    100,
  );
  const prevention = table(section('Appendix G: the postmortem'), 'id', 'action');
  const actions = [...table(fourth, 'id', 'action'), ...prevention];
  assert.deepEqual(
    actions.map(({ id }) => id),
    actions.map((_, index) => `A${index + 1}`),
  );
  for (const { id, owner, prio, due, 'verified by': verified } of actions) {
    assert.ok(
      owner && due && verified && /^P[012]$/.test(prio ?? ''),
      `${id} lacks an owner, a date, a priority or a proof`,
    );
  }
  const letters = [...TEXT.matchAll(/^## Appendix ([A-Z]): /gm)].map((match) => match[1]);
  assert.deepEqual(letters.join(''), 'ABCDEFGHI');
});

test('no table has a row that lacks a cell', () => {
  let columns = 0;
  for (const [index, line] of TEXT.split('\n').entries()) {
    const count = line.startsWith('|') ? line.split('|').length : 0;
    assert.ok(columns === 0 || count === 0 || count === columns, `line ${index + 1}: ${line}`);
    columns = count;
  }
});

test('its links lead somewhere', () => {
  const links = [...TEXT.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1] ?? '');
  const own = links.filter((link) => !link.startsWith('https://'));
  assert.ok(own.length > 20, `${own.length} links`);
  for (const link of own) {
    const [file = '', heading] = link.split('#');
    assert.ok(file === '' || existsSync(join(ROOT, file)), link);
    if (heading !== undefined) {
      assert.ok(anchors(file === '' ? TEXT : readFileSync(join(ROOT, file), 'utf8')).includes(heading), link);
    }
  }
});

test('every alert that it names is a rule, and every rule of orders is named', () => {
  const named = new Set(TEXT.match(ALERT_NAMES) ?? []);
  assert.deepEqual(
    [...named].filter((name) => !RULES.has(name)),
    [],
  );
  const ofOrders = rulesOf(ruleFiles(['orders.yaml'])).flatMap(({ alert }) => alert ?? []);
  assert.deepEqual(
    ofOrders.filter((name) => !named.has(name)),
    [],
  );
});

describe('limits, windows and times of its alerts are those of the rules', () => {
  const onOutcome = table(QUESTIONS[3] ?? '', 'alert', 'fires when', 'limit', 'windows', 'for');
  const onCauses = table(section('Appendix F: SLI and alert definitions'), 'alert', 'fires when', 'severity');
  for (const row of [...onOutcome, ...onCauses]) {
    test(row['alert'] ?? '', () => {
      const rule = RULES.get(row['alert'] ?? '') as Rule;
      assert.equal(row['for'], rule.for ?? '');
      const severity = rule.alert === 'Watchdog' ? 'watchdog' : (row['severity'] ?? 'page');
      assert.equal(rule.labels?.['severity'], severity);
      // A day is how long a watcher is remembered, and no window that anything is measured in; others are in names of recorded series too.
      const windows = [...rule.expr.matchAll(/(?:\[|:rate)(\d+[mh])\b/g)].map((match) => match[1] ?? '');
      const written = (row['windows'] ?? '').split(', ').filter((window) => window !== '');
      assert.deepEqual([...new Set(written)].sort(), [...new Set(windows)].sort());
      const numbers = [...`${row['limit']} ${row['fires when']}`.matchAll(/\d+(?:\.\d+)?/g)].map(Number);
      const limits = [...rule.expr.matchAll(/(?:>=?|\+) (\d+(?:\.\d+)?)/g)].map((match) => Number(match[1]));
      assert.ok(rule.alert === 'Watchdog' || numbers.length > 0, 'a limit is written');
      for (const number of numbers) {
        assert.ok(limits.includes(number), `${number} is none of ${limits.join(', ')}`);
      }
    });
  }
});

test('its objectives are those of the semantic layer', () => {
  const slis = new Map(table(QUESTIONS[3] ?? '', 'SLI', 'target').map((row) => [row['SLI'], row['target']]));
  assert.equal(slis.get('Paid-order confirmation'), `${CONFIRMATION * 100} %`);
  assert.equal(slis.get('Oldest unconfirmed order'), `below ${ORDERS.oldestSecondsRed} s`);
  assert.match(QUESTIONS[3] ?? '', new RegExp(`T is ${ORDERS.confirmSeconds} s`));
  assert.deepEqual(
    [...slis.keys()],
    table(section('Appendix F: SLI and alert definitions'), 'SLI', 'read from').map((row) => row['SLI']),
  );
});

test('what it says of burn rates is what they come to', () => {
  const { fast, slow } = BURN;
  const after = ({ factor, long }: typeof fast | typeof slow, share: number) =>
    (factor * (1 - CONFIRMATION) * seconds(long)) / share;
  const said = section('Appendix F: SLI and alert definitions');
  assert.ok(
    said.includes(
      `${after(fast, 1).toFixed(0)} s of judged orders at total loss and ${(after(fast, 0.05) / 60).toFixed(0)} min at 5 %`,
    ),
  );
  assert.ok(said.includes(`${(after(slow, 0.01) / 3600).toFixed(1)} h at 1 %`));
  // A share that is less than factor × budget never gets there.
  assert.ok(0.01 < fast.factor * (1 - CONFIRMATION) && 0.05 > fast.factor * (1 - CONFIRMATION));
});

test('its times of detection are those that the scenes demand', () => {
  const onOutcome = new Set(table(QUESTIONS[3] ?? '', 'alert', 'fires when').map((row) => row['alert']));
  const rows = table(section('Appendix F: SLI and alert definitions'), 'fault', 'lost', 'first page');
  const earliest = (first: Record<string, string>, counts: (name: string) => boolean) => {
    const times = Object.entries(first).filter(([name]) => counts(name));
    const [name, time] = times.sort(([, one], [, other]) => seconds(one) - seconds(other))[0] ?? ['none', '0s'];
    return `${name} ${seconds(time)} s`;
  };
  const isPage = (name: string) => RULES.get(name)?.labels?.['severity'] === 'page';
  assert.deepEqual(
    rows.map(({ fault, lost, ...row }) => [
      fault,
      lost,
      row['first page'],
      row['first page on the outcome'],
      row['names the cause'],
    ]),
    DETECTIONS.map(({ fault, share, first }) => [
      fault,
      `${share * 100} %`,
      earliest(first, isPage),
      earliest(first, (name) => isPage(name) && onOutcome.has(name)),
      earliest(first, (name) => !onOutcome.has(name)),
    ]),
  );
});

test('the first pages are those of the transcript', () => {
  const transcript = readFileSync(join(ROOT, 'docs/incident-drill.md'), 'utf8');
  const fault: Record<string, string> = {
    'ack-before-store': 'acknowledged before it is stored (theory A)',
    'publish-to-nowhere': 'published into nowhere (theory B)',
    'foreign-reader': 'a foreign reader',
    'lost-before-broker': 'lost before the broker',
    'dedup-poisoned': 'poisoned duplicate filter',
  };
  const cells = (line: string) =>
    line
      .split('|')
      .map((cell) => cell.trim())
      .slice(1, -1);
  const pages = transcript.split('## First pages')[1]?.split('\n## ')[0] ?? '';
  const rows = pages
    .split('\n')
    .map(cells)
    .filter(([name]) => name !== undefined && name in fault);
  assert.equal(rows.length, 2 * Object.keys(fault).length);
  for (const [name, told] of Object.entries(fault)) {
    const row = APPENDICES.split('\n')
      .map(cells)
      .find(([first]) => first === told);
    const of = (loss: string) => rows.find((each) => each[0] === name && each[1] === loss);
    const [all, one] = [of('100 %'), of('1 %')];
    assert.deepEqual(row, [told, `${all?.[3]} s`, all?.[4], `${one?.[3]} s`, one?.[4]], name);
  }
});
