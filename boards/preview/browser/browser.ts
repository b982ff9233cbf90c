/**
 * Drives headless Chromium: opens boards, waits until they are drawn, tells what each panel shows.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer, { type Browser, type LaunchOptions, type Page } from 'puppeteer-core';

/** Where a browser is looked for. */
const PLACES = [
  process.env['CHROMIUM'] ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
];

/** Without these, Chromium asks its maker's servers at every start. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--hide-scrollbars',
  '--force-color-profile=srgb',
];

/** Milliseconds that a browser may take to start: a busy machine needs some. */
const PATIENCE = 120_000;

/** A panel as the page shows it. */
export interface PanelReport {
  id: number;
  type: string;
  title: string;
  state: string;
  error: string;
}

/** The browser's program, if there is one. */
export function findBrowser(): string | undefined {
  return PLACES.find((place) => place !== '' && existsSync(place));
}

/** How a browser is started with the given profile. @throws Error when there is none */
export function launchOptions(userDataDir: string): LaunchOptions {
  const executablePath = findBrowser();
  if (!executablePath) {
    throw new Error('no Chromium found; install it, or name its program in CHROMIUM');
  }
  return { executablePath, headless: true, args: FLAGS, userDataDir, timeout: PATIENCE };
}

/** Starts a browser with a profile of its own; it is removed at the end. @throws Error when there is none */
export async function withBrowser<T>(use: (browser: Browser) => Promise<T>): Promise<T> {
  const userDataDir = await mkdtemp(join(tmpdir(), 'boards-browser-'));
  const browser = await puppeteer.launch(launchOptions(userDataDir));
  try {
    return await use(browser);
  } finally {
    await browser.close();
    await rm(userDataDir, { recursive: true, force: true });
  }
}

/** Opens an address and waits until the board is drawn. @returns what each panel shows */
export async function openBoard(page: Page, url: string, timeout = 60_000): Promise<PanelReport[]> {
  await page.goto(url, { waitUntil: 'domcontentloaded', timeout });
  return settled(page, timeout);
}

/** Waits until no panel is loading, twice in a row with a frame drawn between. */
export async function settled(page: Page, timeout = 60_000): Promise<PanelReport[]> {
  await page.waitForFunction(
    () => {
      const isReady = document.querySelector('[data-board-state="ready"], [data-testid="problem"]') !== null;
      const isBusy = document.querySelector('[data-panel-state="loading"]') !== null;
      const marks = window as { __quietSince?: number };
      if (!isReady || isBusy) {
        delete marks.__quietSince;
        return false;
      }
      marks.__quietSince ??= performance.now();
      return performance.now() - marks.__quietSince > 400;
    },
    { timeout, polling: 'raf' },
  );
  return reports(page);
}

/** What each panel in the page shows now. */
export function reports(page: Page): Promise<PanelReport[]> {
  return page.$$eval('[data-panel-id]', (elements) =>
    elements.map((element) => ({
      id: Number(element.getAttribute('data-panel-id')),
      type: element.getAttribute('data-panel-type') ?? '',
      title: element.getAttribute('data-panel-title') ?? '',
      state: element.getAttribute('data-panel-state') ?? '',
      error: element.getAttribute('data-panel-error') ?? '',
    })),
  );
}

/** Makes the window as high as the page, since a table draws only the rows that are in sight. */
export async function fitHeight(page: Page, width: number): Promise<void> {
  const height = await page.evaluate(() => Math.ceil(document.documentElement.scrollHeight));
  await page.setViewport({ width, height: Math.max(720, height) });
}
