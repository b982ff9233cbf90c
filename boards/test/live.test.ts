/**
 * The preview in a browser, on real stores that the real line has filled: a reader who changes a variable and the range sees the
 * numbers that SQL gives.
 *
 * `e2e/tests/it/boards.rs` fills the stores and runs this. Without them nothing is tested, and the skipped test says so.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Page } from 'puppeteer-core';
import { openBoard, settled, withBrowser } from '../preview/browser/browser.ts';
import { bundle } from '../preview/bundle.ts';
import { startServer } from '../preview/server/server.ts';
import { DASHBOARDS } from './lint/index.ts';
import { missing, readFacts } from './stores/stores.ts';

const SERVICES = ['calm-menu', 'menu-api', 'mock-service'];
const SERVICE = 'mock-service';
/** Milliseconds; a busy machine takes seconds for what takes a moment. */
const PATIENCE = 120_000;
const MINUTE = 60_000;

const skip =
  missing.length > 0 ? `set ${missing.join(', ')}: \`cargo test -p e2e boards\` fills stores and does` : false;

/** Asks ClickHouse without anything of ours between. */
async function count(what: string, services: string[], from: number, to: number): Promise<number> {
  const statement =
    `SELECT count() FROM otel_logs WHERE ${what} AND LogAttributes['status_code'] = '200'` +
    ` AND ServiceName IN (${services.map((name) => `'${name}'`).join(', ')})` +
    ` AND toStartOfMinute(Timestamp) BETWEEN toDateTime(${Math.floor(from / 1000)}) AND toDateTime(${Math.floor(to / 1000)})`;
  const url = `${process.env['CLICKHOUSE_URL']}/?database=${process.env['CLICKHOUSE_DATABASE']}`;
  const answer = await fetch(url, { method: 'POST', body: statement });
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return Number(text);
}

/** What the two panels have to show. */
async function expected(services: string[], from: number, to: number): Promise<Record<string, string>> {
  const written = (number: number) => number.toLocaleString('en-US');
  const lists = await count("LogAttributes['path'] = '/api/menu'", services, from, to);
  const items = await count("startsWith(LogAttributes['path'], '/api/menu/')", services, from, to);
  return { 'Menu views': written(lists), 'Item views': written(items) };
}

/** What the two panels show. */
async function shown(page: Page): Promise<Record<string, string>> {
  await settled(page, PATIENCE);
  const entries = ['Menu views', 'Item views'].map(async (title) => {
    const text = await page.$eval(`[data-panel-title="${title}"]`, (element) => (element as HTMLElement).innerText);
    return [title, /[\d,]+/.exec(text.replace(title, ''))?.[0] ?? text] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

const rangeOf = (page: Page) => {
  const { searchParams } = new URL(page.url());
  return [Number(searchParams.get('from')), Number(searchParams.get('to'))] as const;
};

test('a reader who changes variable and range sees the numbers that SQL gives', { skip }, async () => {
  const facts = readFacts();
  const [clickhouse = '', database = '', mimir = '', tenant = ''] = [
    'CLICKHOUSE_URL',
    'CLICKHOUSE_DATABASE',
    'MIMIR_URL',
    'MIMIR_TENANT',
  ].map((name) => process.env[name]);
  const folder = await mkdtemp(join(tmpdir(), 'boards-live-'));
  const server = await startServer({
    port: 0,
    bundle: await bundle(join(folder, 'bundle')),
    dashboards: DASHBOARDS,
    docs: join(DASHBOARDS, '..', 'docs'),
    stores: {
      clickhouse: { url: clickhouse, database },
      mimir: { url: mimir, tenant },
      scrapeInterval: 1000,
    },
  });
  try {
    await withBrowser(async (browser) => {
      const page = await browser.newPage();
      await page.setViewport({ width: 1280, height: 1600 });
      const url = `${server.url}/d/business-explorer?refresh=&from=${facts.from}&to=${facts.to}`;
      const panels = await openBoard(page, url, PATIENCE);
      const wrong = panels.filter(({ state }) => state === 'error' || state === 'unknown');
      assert.deepEqual(wrong, []);
      const all = await expected(SERVICES, facts.from, facts.to);
      assert.deepEqual(await shown(page), all);

      await page.click('[data-variable="service"] input');
      const option = `xpath///*[@role="option"][contains(., "${SERVICE}")]`;
      await (await page.waitForSelector(option, { timeout: PATIENCE }))?.click();
      await page.keyboard.press('Escape');
      const isChosen = (name: string) => window.location.search.includes(`var-service=${name}`);
      await page.waitForFunction(isChosen, { timeout: PATIENCE }, SERVICE);
      const chosen = await expected([SERVICE], facts.from, facts.to);
      assert.notDeepEqual(chosen, all, 'the other services have views too');
      assert.deepEqual(await shown(page), chosen);

      // The traffic is at the end of the range: what is left of it after half of the range is dragged away is less or as much.
      const graph = await page.$('[data-panel-title="Views of items a minute"] .u-over');
      const box = await graph?.boundingBox();
      assert.ok(box, 'the graph is there');
      await page.mouse.move(box.x + 2, box.y + box.height / 2);
      await page.mouse.down();
      await page.mouse.move(box.x + box.width * 0.93, box.y + box.height / 2, { steps: 5 });
      await page.mouse.up();
      await page.waitForFunction((to) => !window.location.search.includes(`to=${to}`), { timeout: PATIENCE }, facts.to);
      const [from, to] = rangeOf(page);
      assert.ok(to - from > MINUTE && to < facts.to, `from ${from} to ${to}`);
      assert.deepEqual(await shown(page), await expected([SERVICE], from, to));
    });
  } finally {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
});
