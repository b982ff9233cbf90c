/** Writes what is generated: `dashboards/*.json`, `dashboards/rules/*.yaml` and `docs/metrics.md`. Every run gives the same bytes. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { business, pipeline, serviceBoard, slo, storesBoard } from './boards/detail.ts';
import { incident } from './boards/incident.ts';
import { overview } from './boards/overview.ts';
import { build } from './build/dashboard.ts';
import { metricsPage } from './document.ts';
import { MENU } from './rules/menu.ts';
import { ORDER_RULES } from './rules/orders.ts';
import { PIPELINE_RULES } from './rules/pipeline.ts';
import { ruleFile } from './rules/write.ts';

const ROOT = join(import.meta.dirname, '..', '..');

/** Removes what an earlier generator may have left, and writes the files. */
function write(folder: string, files: Record<string, string>, ending: string): void {
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder).filter((file) => file.endsWith(ending))) {
    rmSync(join(folder, name));
  }
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(folder, name + ending), text);
  }
}

const boards = [overview, slo, business, serviceBoard, pipeline, storesBoard, incident].map(build);
const json = boards.map((board) => [board.uid ?? '', `${JSON.stringify(board, null, 2)}\n`] as const);
write(join(ROOT, 'dashboards'), Object.fromEntries(json), '.json');
const rules = {
  menu: ruleFile(MENU, boards),
  pipeline: ruleFile(PIPELINE_RULES, boards),
  orders: ruleFile(ORDER_RULES, boards),
};
write(join(ROOT, 'dashboards', 'rules'), rules, '.yaml');
writeFileSync(join(ROOT, 'docs', 'metrics.md'), metricsPage([...MENU, ...PIPELINE_RULES, ...ORDER_RULES]));
