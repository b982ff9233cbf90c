/** Every scene fires the alerts that it names, at their moments, and no others. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { SCENES } from '../src/rules/scenes/index.ts';
import { seconds } from '../src/rules/scenes/plan.ts';
import { EVERYWHERE, play, ruleFiles, rulesOf } from './promtool.ts';

const RULES = ruleFiles(EVERYWHERE);

describe('scenes', { concurrency: 2 }, () => {
  for (const scene of SCENES) {
    test(scene.name, async () => {
      const outcome = await play(scene, RULES);
      assert.ok(outcome.passed, outcome.output);
    });
    if (scene.everyMinute !== undefined) {
      test(`${scene.name}, evaluated every minute`, async () => {
        const outcome = await play(scene, RULES, '1m');
        assert.ok(outcome.passed, outcome.output);
      });
    }
  }
});

describe('every alert', () => {
  const alerts = rulesOf(RULES).flatMap(({ alert }) => alert ?? []);

  test('fires in a scene', () => {
    const fired = SCENES.flatMap(({ moments }) => moments.flatMap(({ firing }) => Object.keys(firing)));
    assert.deepEqual(without(alerts, ['Watchdog', ...fired]), []);
  });

  test('is read in a scene, with its labels', () => {
    const said = SCENES.flatMap(({ says }) => (says ?? []).map(({ alert }) => alert));
    assert.deepEqual(without(alerts, said), []);
  });
});

const without = (all: string[], some: string[]) => all.filter((one) => !some.includes(one));

test('scenes have names of their own, and moments that promtool evaluates, in order', () => {
  assert.equal(new Set(SCENES.map(({ name }) => name)).size, SCENES.length);
  for (const { name, length, interval, moments, everyMinute, says } of SCENES) {
    const times = moments.map(({ at }) => seconds(at));
    assert.deepEqual(
      times,
      [...times].sort((one, other) => one - other),
      name,
    );
    for (const at of [...times, ...(says ?? []).map((saying) => seconds(saying.at))]) {
      assert.ok(at <= seconds(length) && at % seconds(interval) === 0, `${name}: ${at} s`);
    }
    for (const { at } of everyMinute ?? []) {
      assert.ok(seconds(at) <= seconds(length) && seconds(at) % 60 === 0, `${name}: ${at}`);
    }
  }
});
