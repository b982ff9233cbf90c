/**
 * Serves the preview on loopback: `npm run serve -- [--port N] [--dashboards DIR] [--bundle DIR]`.
 *
 * The stores come from the environment: `CLICKHOUSE_URL`, `CLICKHOUSE_DATABASE`, `CLICKHOUSE_USER`,
 * `CLICKHOUSE_PASSWORD`, `MIMIR_URL`, `MIMIR_TENANT`, and `SCRAPE_INTERVAL` (how often series get a sample, default 10s).
 * It prints its address and ends at SIGTERM.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleFolder, PACKAGE, readArguments } from './arguments.ts';
import { bundle } from './bundle.ts';
import { parseDuration } from './query/index.ts';
import { startServer } from './server/server.ts';
import type { Stores } from './server/stores.ts';

/** The stores that the environment names. */
export function storesFromEnvironment(environment: NodeJS.ProcessEnv = process.env): Stores {
  return {
    clickhouse: {
      url: environment['CLICKHOUSE_URL'] ?? 'http://127.0.0.1:8123',
      database: environment['CLICKHOUSE_DATABASE'] ?? 'default',
      user: environment['CLICKHOUSE_USER'],
      password: environment['CLICKHOUSE_PASSWORD'],
    },
    mimir: {
      url: environment['MIMIR_URL'] ?? 'http://127.0.0.1:9009',
      tenant: environment['MIMIR_TENANT'] ?? 'anonymous',
    },
    scrapeInterval: parseDuration(environment['SCRAPE_INTERVAL'] ?? '10s') ?? 10_000,
  };
}

async function main(): Promise<void> {
  const { values } = readArguments({
    port: { type: 'string', default: '0' },
    dashboards: { type: 'string', default: join(PACKAGE, '../dashboards') },
    bundle: { type: 'string' },
  });
  const folder = bundleFolder(values.bundle);
  if (!existsSync(join(folder, 'index.html'))) {
    await bundle(folder);
  }
  const server = await startServer({
    port: Number(values.port),
    bundle: folder,
    dashboards: resolve(String(values.dashboards)),
    docs: join(PACKAGE, '../docs'),
    stores: storesFromEnvironment(),
  });
  console.log(`boards: ${server.url}`);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => void server.close().then(() => process.exit(0)));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main();
}
