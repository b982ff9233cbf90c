/** Breaks a rule on purpose, to show that a scene sees it. */
import assert from 'node:assert/strict';

import { seconds } from '../src/rules/scenes/plan.ts';
import type { Scene } from '../src/rules/scenes/types.ts';
import { play, rulesOf, type Rule, type RuleFile } from './promtool.ts';

export interface Mutation {
  what: string;
  /** Name of the alert or of the recorded series. */
  rule: string;
  /** In its expression, every time it is there; or its `for` is changed, or removed. */
  change: { expression: [from: string, to: string] } | { for: string | undefined };
  scene: string;
  /** The first moment at which the scene sees it; what comes later need not be played. */
  seen: string;
}

function mutate(rule: Rule, change: Mutation['change']): void {
  if ('expression' in change) {
    const [from, to] = change.expression;
    assert.ok(rule.expr.includes(from), `${rule.expr} has no ${from}`);
    rule.expr = rule.expr.replaceAll(from, to);
  } else {
    assert.notEqual(rule.for, change.for);
    rule.for = change.for;
  }
}

/** The scene up to a moment, that included. */
function until(scene: Scene, end: string): Scene {
  const isPlayed = ({ at }: { at: string }) => seconds(at) <= seconds(end);
  const isWhole = end === scene.length;
  return {
    ...scene,
    first: isWhole ? (scene.first ?? []) : [],
    length: end,
    moments: scene.moments.filter(isPlayed),
    says: (scene.says ?? []).filter(isPlayed),
  };
}

/** Plays the scene with the broken rule, and fails when it does not notice. */
export async function seeMutation(
  { rule: name, change, scene: named, seen }: Mutation,
  scenes: Scene[],
  files: Record<string, RuleFile>,
): Promise<void> {
  const scene = scenes.find((candidate) => candidate.name === named);
  assert.ok(scene, named);
  const rules = rulesOf(files).filter(({ alert, record }) => alert === name || record === name);
  assert.equal(rules.length, 1, name);
  rules.forEach((rule) => mutate(rule, change));
  const { passed, output } = await play(until(scene, seen), files);
  assert.ok(!passed, `"${named}" does not see it`);
  assert.match(output, /got:/, 'the mutated rule is still a rule');
}
