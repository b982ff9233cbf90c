/**
 * The preview's HTTP server. It listens on loopback only and answers only who asks for it by a loopback name.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { listBoards, readBoard } from './boards.ts';
import { documentPage } from './documents.ts';
import { Refusal, readBody } from './request.ts';
import { serveFile } from './static.ts';
import { askClickHouse, askMimir, sourcesOf, type Stores } from './stores.ts';

/** What the server needs to know. */
export interface ServerOptions {
  /** 0 takes a free port. */
  port: number;
  /** Folder of the bundled page. */
  bundle: string;
  /** Folder of the dashboards' JSON; it is read anew at each request. */
  dashboards: string;
  /** Folder of the project's documents, for links to runbooks. */
  docs: string;
  stores: Stores;
}

/** A server that runs. */
export interface RunningServer {
  url: string;
  /** Ends it: open connections are closed, running requests with them. */
  close: () => Promise<void>;
}

/** Starts the server. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const server = createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => refuse(response, error));
  });
  await new Promise<void>((started, failed) => {
    server.once('error', failed);
    server.listen(options.port, '127.0.0.1', started);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((ended) => {
        server.close(() => ended());
        server.closeAllConnections();
      }),
  };
}

async function answer(options: ServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  checkOrigin(request);
  const url = new URL(request.url ?? '/', 'http://127.0.0.1');
  const { pathname } = url;
  response.setHeader('x-content-type-options', 'nosniff');
  if (pathname === '/healthz') {
    return send(response, 200, 'text/plain', 'ok\n');
  }
  if (pathname === '/api/config') {
    return sendJson(response, { sources: sourcesOf(options.stores), boards: await listBoards(options.dashboards) });
  }
  const board = /^\/api\/boards\/([^/]+)$/.exec(pathname)?.[1];
  if (board !== undefined) {
    return sendJson(response, await readBoard(options.dashboards, decodeURIComponent(board)));
  }
  if (pathname === '/api/clickhouse') {
    return askClickHouse(options.stores, request, await readBody(request), url.searchParams, response);
  }
  if (pathname.startsWith('/api/mimir/')) {
    return askMimir(options.stores, request, await readBody(request), url, response);
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    throw new Refusal(405, 'only GET is answered here');
  }
  const document = /^\/docs\/([^/]+)$/.exec(pathname)?.[1];
  if (document !== undefined) {
    return send(response, 200, 'text/html', await documentPage(options.docs, document));
  }
  return serveFile(options.bundle, pathname, response);
}

/**
 * A page of another site must not be able to ask: neither by a name that it lets point to this machine (then the Host
 * header names that site), nor by a plain request (then the browser says where it comes from).
 */
function checkOrigin(request: IncomingMessage): void {
  const host = (request.headers.host ?? '').replace(/:\d+$/, '');
  if (!['127.0.0.1', 'localhost', '[::1]'].includes(host)) {
    throw new Refusal(403, `the host name ${host || '(none)'} is not answered; use 127.0.0.1 or localhost`);
  }
  const { origin } = request.headers;
  const isForeign = origin !== undefined && origin !== `http://${request.headers.host}`;
  const site = request.headers['sec-fetch-site'];
  const isAddress = request.headers['sec-fetch-mode'] === 'navigate';
  if (isForeign || (site !== undefined && site !== 'same-origin' && site !== 'none' && !isAddress)) {
    throw new Refusal(403, 'requests of other sites are not answered');
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store' });
  response.end(body);
}

function sendJson(response: ServerResponse, body: unknown): void {
  send(response, 200, 'application/json', JSON.stringify(body));
}

function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const status = error instanceof Refusal ? error.status : 502;
  send(response, status, 'text/plain', `${error instanceof Error ? error.message : String(error)}\n`);
}
