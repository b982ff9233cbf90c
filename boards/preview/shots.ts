/**
 * Takes pictures of boards: `npm run shots -- [--url U | stores from the environment] [--out DIR] [UID …]`.
 *
 * Options: `--width 1280 --width 1920`, `--theme dark --theme light`, `--from now-6h`, `--to now`, `--var name=value`
 * (again for each), `--panel ID`, `--dashboards DIR`, `--bundle DIR`, `--allow-errors`.
 * It ends with 1 and names each panel that shows an error.
 */
import { mkdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Browser } from 'puppeteer-core';
import { bundleFolder, PACKAGE, readArguments } from './arguments.ts';
import { fitHeight, openBoard, settled, withBrowser, type PanelReport } from './browser/browser.ts';
import { bundle } from './bundle.ts';
import { encodeStrict } from './query/index.ts';
import { storesFromEnvironment } from './serve.ts';
import { startServer } from './server/server.ts';

const { values, positionals } = readArguments({
  url: { type: 'string' },
  out: { type: 'string', default: 'shots' },
  width: { type: 'string', multiple: true },
  theme: { type: 'string', multiple: true },
  from: { type: 'string' },
  to: { type: 'string' },
  var: { type: 'string', multiple: true },
  panel: { type: 'string' },
  dashboards: { type: 'string', default: join(PACKAGE, '../dashboards') },
  bundle: { type: 'string' },
  'allow-errors': { type: 'boolean', default: false },
});

/** One picture. */
interface Shot {
  uid: string;
  width: number;
  theme: string;
}

/** Takes one picture. @returns the panels that show an error */
async function take(browser: Browser, base: string, { uid, width, theme }: Shot, out: string): Promise<PanelReport[]> {
  const page = await browser.newPage();
  try {
    await page.setViewport({ width, height: 1080 });
    const url = `${base}/d/${encodeURIComponent(uid)}?${address(theme)}`;
    await openBoard(page, url);
    await fitHeight(page, width);
    const panels = await settled(page);
    const file = join(out, `${uid}-${theme}-${width}.png`);
    await page.screenshot({ path: file as `${string}.png` });
    const problem = await page.$$eval('[data-testid="problem"]', (found) =>
      found.map((each) => each.textContent ?? ''),
    );
    console.log(
      `${file}: ${panels.length} panels, ${panels.filter(({ state }) => state === 'empty').length} without data`,
    );
    const page_errors = problem.map((error) => ({ id: 0, type: 'page', title: 'page', state: 'error', error }));
    return [...page_errors, ...panels.filter(({ state }) => state === 'error' || state === 'unknown')];
  } finally {
    await page.close();
  }
}

function address(theme: string): string {
  const variables = ((values.var as string[] | undefined) ?? []).map((each) => {
    const [name = '', ...rest] = each.split('=');
    return `var-${name}=${encodeStrict(rest.join('='))}`;
  });
  const one = (key: 'from' | 'to') => (values[key] ? [`${key}=${encodeStrict(String(values[key]))}`] : []);
  const panel = values.panel ? [`viewPanel=${String(values.panel)}`] : [];
  return [`theme=${theme}`, 'refresh=', ...one('from'), ...one('to'), ...panel, ...variables].join('&');
}

async function uidsOf(base: string): Promise<string[]> {
  const config = (await (await fetch(`${base}/api/config`)).json()) as { boards: Array<{ uid: string }> };
  return positionals.length > 0 ? positionals : config.boards.map(({ uid }) => uid);
}

async function main(base: string): Promise<number> {
  const out = resolve(String(values.out));
  await mkdir(out, { recursive: true });
  const widths = ((values.width as string[] | undefined) ?? ['1280', '1920']).map(Number);
  const themes = (values.theme as string[] | undefined) ?? ['dark'];
  const uids = await uidsOf(base);
  let failed = 0;
  await withBrowser(async (browser) => {
    for (const uid of uids) {
      for (const theme of themes) {
        for (const width of widths) {
          const broken = await take(browser, base, { uid, theme, width }, out);
          broken.forEach(({ id, title, error, type, state }) =>
            console.error(`${uid}: panel ${id} "${title}" (${type}): ${error || state}`),
          );
          failed += broken.length;
        }
      }
    }
  });
  return failed > 0 && !values['allow-errors'] ? 1 : 0;
}

async function ownServer() {
  const folder = bundleFolder(values.bundle as string | undefined);
  if (!existsSync(join(folder, 'index.html'))) {
    await bundle(folder);
  }
  return startServer({
    port: 0,
    bundle: folder,
    dashboards: resolve(String(values.dashboards)),
    docs: join(PACKAGE, '../docs'),
    stores: storesFromEnvironment(),
  });
}

if (values.url) {
  process.exitCode = await main(String(values.url).replace(/\/$/, ''));
} else {
  const server = await ownServer();
  try {
    process.exitCode = await main(server.url);
  } finally {
    await server.close();
  }
}
