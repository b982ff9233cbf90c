/** Runs scenes with promtool against the generated rules, or against changed ones. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { parse } from 'yaml';

import type { Scene } from '../src/rules/scenes/types.ts';
import { unitTest, type Annotations } from '../src/rules/scenes/unit.ts';

export const ROOT = join(import.meta.dirname, '..', '..');

/** One rule of a generated file. */
export interface Rule {
  alert?: string;
  record?: string;
  expr: string;
  for?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

export interface RuleFile {
  groups: { name: string; rules: Rule[] }[];
}

/** Rules of what every installation has. */
export const EVERYWHERE = ['menu.yaml', 'pipeline.yaml'];
/** Rules of the order flow, which are loaded only where it runs. */
export const OF_ORDERS = ['orders.yaml'];

/** The generated rules, by file name: all of them, or those that are named. */
export function ruleFiles(only?: string[]): Record<string, RuleFile> {
  const folder = join(ROOT, 'dashboards', 'rules');
  const names = readdirSync(folder).filter((name) => name.endsWith('.yaml') && (only?.includes(name) ?? true));
  return Object.fromEntries(names.map((name) => [name, parse(readFileSync(join(folder, name), 'utf8')) as RuleFile]));
}

export const rulesOf = (files: Record<string, RuleFile>): Rule[] =>
  Object.values(files).flatMap(({ groups }) => groups.flatMap(({ rules }) => rules));

/** Whether everything was as expected, and what promtool printed. */
export interface Outcome {
  passed: boolean;
  output: string;
}

/** Runs one scene, at the interval of its samples or at a longer one. */
export async function play(scene: Scene, rules: Record<string, RuleFile>, evaluated?: '1m'): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'scene-'));
  try {
    const files = Object.entries(rules).map(([name, file]) => [join(folder, name), JSON.stringify(file)] as const);
    files.forEach(([path, text]) => writeFileSync(path, text));
    const groups = Object.values(rules).flatMap((file) => file.groups.map(({ name }) => name));
    const said = rulesOf(rules).flatMap(({ alert, annotations }) =>
      alert ? [[alert, annotations ?? {}] as const] : [],
    );
    const test = join(folder, 'scene.json');
    const paths = files.map(([path]) => path);
    writeFileSync(test, unitTest(scene, paths, groups, Object.fromEntries(said) as Annotations, evaluated));
    return await run(['test', 'rules', test]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function run(words: string[]): Promise<Outcome> {
  try {
    const { stdout } = await promisify(execFile)(promtool(), words, { maxBuffer: 1 << 26 });
    return { passed: true, output: stdout };
  } catch (failure) {
    const { code, stdout, stderr } = failure as { code?: unknown; stdout?: string; stderr?: string };
    if (typeof code !== 'number') {
      throw failure;
    }
    return { passed: false, output: `${stdout ?? ''}${stderr ?? ''}` };
  }
}

/** Where promtool is. */
function promtool(): string {
  const path = process.env['PROMTOOL'];
  if (path === undefined || path === '') {
    throw new Error(
      'PROMTOOL is not set: it has to be the path of promtool, which `cargo run -p devstack -- fetch --for-tests` builds and `cargo run -p devstack -- promtool` prints',
    );
  }
  return path;
}
