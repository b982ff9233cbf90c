/**
 * The page in a browser: what panels show, what a reader can do with them, and what it asks the stores for.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writeFile } from 'node:fs/promises';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { bundle } from '../bundle.ts';
import { sampleBoard } from '../sample/board.ts';
import { startServer, type RunningServer } from '../server/server.ts';
import { findBrowser, launchOptions, openBoard, settled, type PanelReport } from './browser.ts';
import { startFakeStores, type FakeStores } from './fake-stores.ts';

/** What panels of the sample board are, by title, when the stores answer. */
const EXPECTED: Record<string, string> = {
  'Menu success': 'done',
  'Affected requests': 'done',
  'Nothing measured': 'empty',
  Apdex: 'done',
  'Views by restaurant': 'done',
  'Requests of All': 'done',
  'p95 with exemplars and thresholds': 'done',
  'By status class, stacked': 'done',
  'Bad minutes by route': 'done',
  Latency: 'done',
  Items: 'done',
  'What customers saw': 'done',
  Concentration: 'done',
  'How to read this': 'done',
  Alerts: 'done',
  'Log lines': 'done',
  'Not known': 'unknown',
  'Broken query': 'error',
  'One trace': 'done',
};

let folder: string;
let stores: FakeStores;
let server: RunningServer;
let browser: Browser;
const scriptErrors: string[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'boards-test-'));
  await writeFile(join(folder, 'sample.json'), JSON.stringify(sampleBoard()));
  stores = await startFakeStores();
  server = await startServer({
    port: 0,
    bundle: await bundle(join(folder, 'bundle')),
    dashboards: folder,
    docs: join(folder, 'docs'),
    stores: {
      clickhouse: { url: stores.url, database: 'otel' },
      mimir: { url: stores.url, tenant: 'demo' },
      scrapeInterval: 10_000,
    },
  });
  assert.ok(findBrowser(), 'no Chromium found; install it, or name its program in CHROMIUM');
  browser = await puppeteer.launch(launchOptions(join(folder, 'profile')));
});

after(async () => {
  await browser?.close();
  await server?.close();
  await stores?.close();
  await rm(folder, { recursive: true, force: true });
});

/** Opens the sample board; a script error on the page fails the test that looks at `scriptErrors`. */
async function open(search = ''): Promise<{ page: Page; panels: PanelReport[] }> {
  stores.asked.length = 0;
  const page = await browser.newPage();
  page.on('pageerror', (error) => scriptErrors.push(String(error)));
  await page.setViewport({ width: 1280, height: 2400 });
  return { page, panels: await openBoard(page, `${server.url}/d/sample?refresh=${search}`) };
}

const textOf = (page: Page, title: string) =>
  page.$eval(`[data-panel-title="${title}"]`, (element) => (element as HTMLElement).innerText.replace(/\s+/g, ' '));

test('every panel draws, and zero, nothing and an error look different', async () => {
  const { page, panels } = await open();
  assert.deepEqual(Object.fromEntries(panels.map(({ title, state }) => [title, state])), EXPECTED);
  assert.match(await textOf(page, 'Menu success'), /98\.76 ?%/);
  assert.match(await textOf(page, 'Affected requests'), /requests 0$/);
  assert.match(await textOf(page, 'Nothing measured'), /not measured yet$/);
  assert.match(await textOf(page, 'Apdex'), /0\.87/);
  assert.match(
    await textOf(page, 'Requests of All'),
    /requests item 31(\.0)? req\/s 31(\.0)? req\/s requests list 51(\.0)? req\/s/,
  );
  assert.match(await textOf(page, 'Items'), /Margherita Pizza \$12\.99 290 12%/);
  assert.match(await textOf(page, 'Concentration'), /Sakura Sushi 58%/);
  assert.match(await textOf(page, 'Alerts'), /MenuBurn page firing for an hour · runbook the menu fails$/);
  assert.match(await textOf(page, 'Broken query'), /The query failed$/);
  assert.match(await textOf(page, 'Not known'), /no panel of type "geomap"/);
  assert.match(
    panels.find(({ title }) => title === 'Broken query')?.error ?? '',
    /^panel \d+ "Broken query", query A: Code: 60/,
  );
  assert.deepEqual(scriptErrors, []);
  assert.match(
    await page.$eval('[data-testid="preview-notice"]', (element) => element.textContent ?? ''),
    /not Grafana/,
  );
  await page.close();
});

test('graphs are painted, and hovering one tells its values', async () => {
  const { page } = await open();
  for (const title of [
    'Requests of All',
    'By status class, stacked',
    'Bad minutes by route',
    'Latency',
    'What customers saw',
  ]) {
    // Axes and their texts are grey; what has a colour is data.
    const colored = await page.$eval(`[data-panel-title="${title}"] canvas`, (element) => {
      const canvas = element as HTMLCanvasElement;
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      let count = 0;
      for (let index = 0; index < data.length; index += 4) {
        const [red = 0, green = 0, blue = 0, alpha = 0] = data.subarray(index, index + 4);
        count += alpha > 100 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60 ? 1 : 0;
      }
      return count;
    });
    assert.ok(colored > 500, `${title} has ${colored} coloured pixels`);
  }
  const over = await page.$('[data-panel-title="Requests of All"] .u-over');
  const box = await over?.boundingBox();
  assert.ok(box);
  await page.mouse.move(box.x + box.width - 3, box.y + box.height / 2);
  await page.waitForFunction(
    () => /51(\.0)? req\/s/.test(document.querySelector('[id="grafana-portal-container"]')?.textContent ?? ''),
    { timeout: 5000 },
  );

  const timeline = await (await page.$('[data-panel-title="Bad minutes by route"] .u-over'))?.boundingBox();
  assert.ok(timeline);
  await page.mouse.move(timeline.x + timeline.width - 5, timeline.y + 5);
  await page.waitForFunction(
    () => /bad item.*bad/.test(document.querySelector('[id="grafana-portal-container"]')?.textContent ?? ''),
    { timeout: 5000 },
  );
  await page.close();
});

test('a dragged range becomes the range of the board', async () => {
  const { page } = await open();
  const box = await (await page.$('[data-panel-title="Requests of All"] .u-over'))?.boundingBox();
  assert.ok(box);
  await page.mouse.move(box.x + box.width * 0.25, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.75, box.y + 40, { steps: 5 });
  await page.mouse.up();
  await page.waitForFunction(() => /from=\d{13}&to=\d{13}/.test(window.location.search), { timeout: 5000 });
  const parameters = new URL(page.url()).searchParams;
  const hours = (Number(parameters.get('to')) - Number(parameters.get('from'))) / 3_600_000;
  assert.ok(hours > 2.9 && hours < 3.1, `half of six hours were selected, the range is ${hours} h`);
  await settled(page);
  assert.ok(
    stores.asked.some((each) => each.includes(`toDateTime(${Math.floor(Number(parameters.get('from')) / 1000)})`)),
  );
  await page.close();
});

test('a variable of the address filters queries and titles, and hostile text stays text', async () => {
  const { page, panels } = await open('&var-route=list&var-order_rate=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E');
  assert.ok(panels.some(({ title }) => title === 'Requests of list'));
  assert.ok(stores.asked.some((each) => each.includes("route IN ('list')")));
  assert.doesNotMatch(await textOf(page, 'Requests of list'), /requests item/);
  await page.close();

  const hostile = await open(`&var-route=${encodeURIComponent('<img src=x onerror=alert(1)>')}`);
  assert.equal(await hostile.page.$$eval('[data-panel-title="How to read this"] img', (found) => found.length), 0);
  assert.match(await textOf(hostile.page, 'How to read this'), /<img src=x onerror=alert\(1\)>/);
  await hostile.page.close();
});

test('choosing a value asks again and is kept in the address', async () => {
  const { page } = await open();
  await page.click('[data-variable="route"] input');
  const option = await page.waitForSelector('xpath///*[@role="option"][contains(., "list")]', { timeout: 5000 });
  await option?.click();
  await page.waitForFunction(() => window.location.search.includes('var-route=list'), { timeout: 5000 });
  await settled(page);
  assert.match(await textOf(page, 'Requests of list'), /requests list/);
  await page.close();
});

test('links lead from a cell, a log line, an exemplar and a panel to boards of the preview', async () => {
  const { page } = await open('&from=now-6h&to=now');
  const links = (selector: string) =>
    page.$$eval(selector, (found) => found.map((element) => element.getAttribute('href')));
  assert.deepEqual(await links('[data-panel-title="Items"] a'), ['/d/sample?var-item=1', '/d/sample?var-item=5']);
  assert.deepEqual(await links('[data-panel-title="Menu success"] [data-testid="panel-link"]'), [
    '/d/sample?from=now-6h&to=now',
  ]);
  assert.deepEqual(await links('[data-testid="board-link"]'), [
    '/d/slo?from=now-6h&to=now&var-datasource=mimir&var-ch=clickhouse&var-route=%24__all&var-order_rate=3',
  ]);
  await page.click('[data-testid="log-line"]');
  assert.deepEqual(await links('[data-panel-title="Log lines"] a'), ['/d/service?var-trace_id=ab12']);
  assert.match(await textOf(page, 'Log lines'), /Failed to list <b>menu<\/b> items/);
  await page.click('[data-testid="exemplar"]');
  await page.waitForSelector('a[href^="/d/service?var-trace_id=cafe01&from=now-6h"]', { timeout: 5000 });
  await page.close();
});

test('annotations mark their time, and can be switched off', async () => {
  const { page } = await open();
  const marks = () =>
    page.$$eval('[data-panel-title="Requests of All"] [data-testid="annotation"]', (found) => found.length);
  await page.waitForSelector('[data-testid="annotation"]', { timeout: 5000 });
  assert.equal(await marks(), 1);
  await page.click('xpath///label[contains(., "Restarts")]');
  await page.waitForFunction(() => document.querySelector('[data-testid="annotation"]') === null, { timeout: 5000 });
  await page.close();
});

test('a trace is drawn as a tree, and its spans open', async () => {
  const { page } = await open();
  assert.equal(await page.$$eval('[data-testid="span"]', (found) => found.length), 2);
  assert.match(await textOf(page, 'One trace'), /gateway: GET \/api\/menu.*48\.2 ms · 2 spans · 2 services/);
  await page.click('[data-testid="span"] [aria-label="children"]');
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="span"]').length === 1, { timeout: 5000 });
  await page.close();
});

test('a row that is folded away asks nothing, and what follows moves up', async () => {
  const { page } = await open();
  await page.click('xpath///button[contains(., "Evidence")]');
  await page.waitForFunction(() => document.querySelector('[data-panel-title="Log lines"]') === null, {
    timeout: 5000,
  });
  stores.asked.length = 0;
  await page.click('[data-testid="data-testid RefreshPicker run button"]');
  await new Promise((resolve) => setTimeout(resolve, 300));
  await settled(page);
  assert.ok(
    stores.asked.some((each) => each.includes('AS success')),
    'panels in sight ask again',
  );
  assert.ok(!stores.asked.some((each) => each.includes('AS body')), 'folded ones do not');
  await page.close();
});

test('one panel can be seen alone, and a kiosk has no header', async () => {
  const { page, panels } = await open('&viewPanel=6&kiosk');
  assert.deepEqual(
    panels.map(({ title }) => title),
    ['Requests of All'],
  );
  assert.equal(await page.$('[data-testid="preview-notice"]'), null);
  await page.close();
});

test('a store that is away is an error on its panels only', async () => {
  stores.fail.pattern = /AS success|label_replace/;
  const { page, panels } = await open();
  delete stores.fail.pattern;
  assert.deepEqual(
    panels.filter(({ state }) => state === 'error').map(({ title }) => title),
    ['Menu success', 'Latency', 'Broken query'],
  );
  await page.close();
});

test('light and dark are a click apart', async () => {
  const { page } = await open('&theme=light');
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await page.click('[aria-label="theme"]');
  await page.waitForFunction(
    (before) => getComputedStyle(document.body).backgroundColor !== before,
    { timeout: 5000 },
    light,
  );
  await page.close();
});
