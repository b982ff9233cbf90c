/**
 * What moves in a scene: of all panels exactly those that are listed, each in its direction.
 *
 * `cargo xtask test-dashboards` plays the scenes, writes what `test/measure.ts` measured into the folder that `BOARDS_SCENES`
 * names, and runs this.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { movesBetween, moveOf, type Move } from './scenes/compare.ts';
import { MOVES } from './scenes/moves.ts';
import type { Measured, Reading } from './scenes/readings.ts';

const folder = process.env['BOARDS_SCENES'];
const skip = folder ? false : 'set BOARDS_SCENES: `cargo xtask test-dashboards` plays the scenes and does';

const read = (scene: string) => JSON.parse(readFileSync(join(folder ?? '', `${scene}.json`), 'utf8')) as Measured[];

describe('scenes', { skip }, () => {
  for (const [scene, moves] of Object.entries(MOVES)) {
    test(`${scene} moves its panels and no other`, () => {
      const measured = read(scene);
      const found = [...movesBetween(read('normal'), measured)].map(([panel, move]) => `${panel} ${move}`);
      const wanted = measured.flatMap(({ board, title }) => {
        const move = moves[`${board}: ${title}`] ?? moves[title];
        return move ? [`${board}: ${title} ${move}`] : [];
      });
      const unexpected = found.filter((move) => !wanted.includes(move));
      const missing = wanted.filter((move) => !found.includes(move));
      assert.deepEqual({ unexpected, missing }, { unexpected: [], missing: [] });
    });
  }

  test('every panel that is listed is there', () => {
    const titles = new Set(read('normal').flatMap(({ board, title }) => [title, `${board}: ${title}`]));
    const listed = Object.values(MOVES).flatMap((moves) => Object.keys(moves));
    assert.deepEqual(
      listed.filter((title) => !titles.has(title)),
      [],
    );
  });
});

describe('a panel has moved', () => {
  const of = (kind: Reading['kind'], ...values: (number | string | null)[]) =>
    Object.fromEntries(values.map((value, index) => [`reading ${index}`, { kind, value }]));
  const cases: [string, Record<string, Reading>, Record<string, Reading>, Move | undefined][] = [
    ['not within its tolerance', of('count', 1000, 4), of('count', 1020, 0), undefined],
    ['when it rises', of('share', 0.9), of('share', 0.99), 'up'],
    ['when it falls', of('money', 20), of('money', 10), 'down'],
    ['both ways when its readings part', of('count', 100, 0), of('count', 0, 100), 'both'],
    ['when a series begins', of('number'), of('number', 5), 'up'],
    ['when a series ends', of('count', 500), of('count'), 'down'],
    ['when a number is known no more', of('share', 0.5), of('share', null), 'gone'],
    ['not while it is unknown', of('share', null), of('share', null), undefined],
    ['when a sentence begins otherwise', of('text', 'OK: all'), of('text', 'Failing: all'), 'words'],
    ['not when a sentence has other numbers', of('text', 'OK: 1 request'), of('text', 'OK: 2 requests'), undefined],
    ['with any change of a state', of('state', 1), of('state', 0), 'down'],
  ];
  for (const [what, before, after, expected] of cases) {
    test(what, () => assert.equal(moveOf(before, after), expected));
  }
});
