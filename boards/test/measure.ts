/**
 * Writes what every panel of every board shows to standard output, as JSON: `node --import tsx test/measure.ts > normal.json`.
 *
 * It wants the environment of `test/stores.test.ts`.
 */
import { panelsOf } from '../preview/query/index.ts';
import { readBoards } from './lint/index.ts';
import { readingsOf, type Measured } from './scenes/readings.ts';
import { answersOf } from './stores/figures.ts';
import { between, contextOf, failedTrace, missing, readFacts } from './stores/stores.ts';

if (missing.length > 0) {
  throw new Error(`set ${missing.join(', ')}`);
}
const facts = readFacts();
const measured: Measured[] = [];
for (const board of readBoards()) {
  const context = await contextOf(board, between(facts.from, facts.to), { trace_id: [failedTrace(facts)] });
  const panels = panelsOf(board);
  for (const panel of panels) {
    const isAlone = panels.filter(({ title }) => title === panel.title).length === 1;
    const title = isAlone ? (panel.title ?? '') : `${panel.title ?? ''} (${panel.type})`;
    measured.push({ board: board.uid, title, readings: readingsOf(panel, await answersOf(panel, context)) });
  }
}
process.stdout.write(`${JSON.stringify(measured, null, 2)}\n`);
