/**
 * Writes the sample board into a folder: `npx tsx preview/sample/write.ts FOLDER`, then `npm run serve -- --dashboards FOLDER`.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sampleBoard } from './board.ts';

const folder = process.argv[2] ?? '';
if (folder === '') {
  console.error('name the folder to write sample.json into');
  process.exit(64);
}
await mkdir(folder, { recursive: true });
await writeFile(join(folder, 'sample.json'), `${JSON.stringify(sampleBoard(), null, 2)}\n`);
