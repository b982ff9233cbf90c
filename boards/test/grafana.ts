/**
 * `npm run grafana-check`: whether a real Grafana has our dashboards, and answers each of their queries.
 *
 * | variable | |
 * |---|---|
 * | `GRAFANA_URL` | base address; `http://user:password@host` for basic authentication |
 * | `GRAFANA_TOKEN` | token of a service account, instead |
 *
 * `-- --from now-6h --to now` is the range. It ends with 1 when there is a problem.
 */
import { readArguments } from '../preview/arguments.ts';
import { parseRange } from '../preview/query/index.ts';
import { checkGrafana, inWords } from './grafana/check.ts';
import { readBoards } from './lint/index.ts';

const { values } = readArguments({
  from: { type: 'string', default: 'now-6h' },
  to: { type: 'string', default: 'now' },
});
const url = process.env['GRAFANA_URL'];
if (!url) {
  console.log('NOT RUN: GRAFANA_URL names no Grafana, so no dashboard was checked in a real one');
} else {
  try {
    const token = process.env['GRAFANA_TOKEN'];
    const range = parseRange(values.from, values.to);
    const report = await checkGrafana({ url, ...(token ? { token } : {}) }, readBoards(), range);
    console.log(inWords(report));
    process.exitCode = report.problems.length > 0 ? 1 : 0;
  } catch (error) {
    console.error(`Grafana could not be checked: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
