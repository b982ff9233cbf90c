/** What the server passes on, and to whom it answers. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PACKAGE } from '../arguments.ts';
import { startFakeStores, type FakeStores } from '../browser/fake-stores.ts';
import { startServer, type RunningServer } from './server.ts';

let folder: string;
let stores: FakeStores;
let server: RunningServer;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'boards-server-'));
  await mkdir(join(folder, 'bundle'));
  await writeFile(join(folder, 'bundle/index.html'), '<html>page</html>');
  await writeFile(join(folder, 'slo.json'), JSON.stringify({ uid: 'slo', title: 'SLO', panels: [] }));
  await writeFile(join(folder, 'other.json'), JSON.stringify({ note: 'no dashboard' }));
  stores = await startFakeStores();
  server = await startServer({
    port: 0,
    bundle: join(folder, 'bundle'),
    dashboards: folder,
    docs: join(folder, 'docs'),
    stores: {
      clickhouse: { url: stores.url, database: 'otel' },
      mimir: { url: stores.url, tenant: 'demo' },
      scrapeInterval: 10_000,
    },
  });
});

after(async () => {
  await server.close();
  await stores.close();
  await rm(folder, { recursive: true, force: true });
});

/** A request with headers that `fetch` would not let one set. */
function ask(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body = '',
): Promise<{ status: number; text: string }> {
  return new Promise((answered, failed) => {
    const sent = request(
      `${server.url}${path}`,
      { method, headers, setHost: headers['host'] === undefined },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          answered({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        );
      },
    );
    sent.on('error', failed);
    sent.end(body);
  });
}

test('a page of another site is not answered', async () => {
  const refused: Array<Record<string, string>> = [
    { host: 'evil.example' },
    { host: 'evil.example:80' },
    { origin: 'http://evil.example' },
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
  ];
  for (const headers of refused) {
    assert.equal((await ask('POST', '/api/clickhouse', headers, 'SELECT 1')).status, 403, JSON.stringify(headers));
  }
  const port = new URL(server.url).port;
  assert.equal(
    (
      await ask('GET', '/api/config', {
        host: `localhost:${port}`,
        origin: `http://localhost:${port}`,
        'sec-fetch-site': 'same-origin',
      })
    ).status,
    200,
  );
  assert.equal(
    (await ask('GET', '/d/slo', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' })).status,
    200,
    'a link from elsewhere opens the page',
  );
});

test('a runbook is a page with its headings, and nothing else of the disk is', async () => {
  const docs = join(folder, 'docs');
  await mkdir(docs, { recursive: true });
  await writeFile(join(docs, 'runbook.md'), '# Runbook\n\n## MenuAvailabilityBurnFast\n\nLook at `x`.\n');
  const page = await ask('GET', '/docs/runbook.md');
  assert.equal(page.status, 200);
  assert.match(page.text, /<h2 id="menuavailabilityburnfast">/);
  for (const path of ['/docs/..%2fpackage.json', '/docs/none.md', '/docs/a.txt']) {
    assert.equal((await ask('GET', path)).status, 404, path);
  }
});

test('a statement reaches ClickHouse read-only and bounded, whatever is asked for', async () => {
  stores.asked.length = 0;
  const path =
    '/api/clickhouse?readonly=0&max_execution_time=0&database=system&default_format=JSONCompact&max_memory_usage=0';
  assert.equal((await ask('POST', path, {}, 'SELECT 0 AS affected')).status, 200);
  const [asked = ''] = stores.asked;
  const parameters = new URL(asked.split(' ')[1] ?? '', 'http://x').searchParams;
  assert.deepEqual(Object.fromEntries(parameters), {
    default_format: 'JSONCompact',
    database: 'otel',
    readonly: '1',
    max_execution_time: '30',
  });
  assert.equal((await ask('GET', '/api/clickhouse?query=SELECT+1')).status, 405);
  const failed = await ask('POST', '/api/clickhouse', {}, 'SELECT x FROM nowhere');
  assert.deepEqual([failed.status, failed.text], [404, 'Code: 60. DB::Exception: no such table']);
});

test('only queries reach Mimir', async () => {
  stores.asked.length = 0;
  assert.equal((await ask('GET', '/api/mimir/api/v1/query?query=up')).status, 200);
  assert.equal((await ask('GET', '/api/mimir/api/v1/label/route/values')).status, 200);
  const refused = [
    '/api/mimir/api/v1/push',
    '/api/mimir/config/v1/rules',
    '/api/mimir/api/v1/label/../push',
    '/api/mimir/',
  ];
  for (const path of refused) {
    assert.equal((await ask('GET', path)).status, 404, path);
  }
  assert.equal((await ask('DELETE', '/api/mimir/api/v1/series')).status, 404);
  assert.deepEqual(stores.asked.length, 2);
});

test('dashboards are read anew, and a broken file is named', async () => {
  const config = JSON.parse((await ask('GET', '/api/config')).text) as { boards: Array<{ uid: string }> };
  assert.deepEqual(
    config.boards.map(({ uid }) => uid),
    ['slo'],
  );
  assert.equal((await ask('GET', '/api/boards/nothing')).status, 404);
  await writeFile(join(folder, 'new.json'), JSON.stringify({ uid: 'new', title: 'New', panels: [] }));
  assert.equal((await ask('GET', '/api/boards/new')).status, 200);
  await writeFile(join(folder, 'new.json'), '{');
  const broken = await ask('GET', '/api/config');
  assert.equal(broken.status, 500);
  assert.match(broken.text, /^new\.json: /);
  await rm(join(folder, 'new.json'));
});

test('files outside the bundle are not served', async () => {
  await writeFile(join(folder, 'secret.txt'), 'secret');
  for (const path of ['/..%2fsecret.txt', '/%2e%2e/secret.txt', '/fonts/..%2f..%2fsecret.txt', '/missing.js']) {
    assert.equal((await ask('GET', path)).status, 404, path);
  }
  assert.equal((await ask('GET', '/healthz')).text, 'ok\n');
  assert.equal((await ask('POST', '/')).status, 405);
});

test('a query that is too long is refused', async () => {
  assert.equal((await ask('POST', '/api/clickhouse', {}, 'x'.repeat((1 << 20) + 1))).status, 413);
});

test('the program prints its address and ends at SIGTERM', async () => {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join(PACKAGE, 'preview/serve.ts'), '--bundle', join(folder, 'bundle'), '--dashboards', folder],
    { cwd: PACKAGE },
  );
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const url = await new Promise<string>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      const found = /boards: (http:\S+)/.exec(chunk.toString())?.[1];
      if (found) {
        resolve(found);
      }
    });
  });
  assert.equal(await (await fetch(`${url}/healthz`)).text(), 'ok\n');
  child.kill('SIGTERM');
  assert.equal(await ended, 0);
});
