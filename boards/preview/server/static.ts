/**
 * The bundled page's files. Whatever is no file is the page itself, which reads its address.
 */
import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { Refusal } from './request.ts';

const TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.woff': 'font/woff',
  '.woff2': 'font/woff2',
};

/** Sends the file that a path names, or the page. */
export async function serveFile(folder: string, pathname: string, response: ServerResponse): Promise<void> {
  const type = TYPES[extname(pathname)];
  const isPage = type === undefined;
  // Normalized from the root, a path cannot climb above the folder, however its dots are written.
  const path = normalize(isPage ? '/index.html' : decodeURIComponent(pathname));
  try {
    const body = await readFile(join(folder, path));
    response.writeHead(200, {
      'content-type': type ?? TYPES['.html'],
      'cache-control': isPage ? 'no-store' : 'max-age=60',
    });
    response.end(body);
  } catch {
    throw new Refusal(404, `${pathname} not found`);
  }
}
