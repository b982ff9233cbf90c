/**
 * The dashboards on disk. Files are found by the uid within, since addresses name it.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from './request.ts';

interface BoardJson {
  uid?: string;
  title?: string;
  description?: string;
  tags?: string[];
}

/** Every dashboard's uid, title, description and tags, by title. A file that is no dashboard is left out. */
export async function listBoards(folder: string): Promise<Array<Required<BoardJson>>> {
  const boards = await readAll(folder);
  return boards
    .map(({ uid = '', title = '', description = '', tags = [] }) => ({ uid, title, description, tags }))
    .sort((a, b) => (a.title < b.title ? -1 : 1));
}

/** The dashboard with a uid, as it is on disk. */
export async function readBoard(folder: string, uid: string): Promise<BoardJson> {
  const found = (await readAll(folder)).find((board) => board.uid === uid);
  if (!found) {
    throw new Refusal(404, `there is no dashboard with the uid ${uid}`);
  }
  return found;
}

async function readAll(folder: string): Promise<BoardJson[]> {
  const names = (await readdir(folder).catch(() => [] as string[])).filter((name) => name.endsWith('.json'));
  const read = await Promise.all(
    names.map(async (name) => {
      try {
        return JSON.parse(await readFile(join(folder, name), 'utf8')) as BoardJson;
      } catch (error) {
        throw new Refusal(500, `${name}: ${(error as Error).message}`);
      }
    }),
  );
  return read.filter((board) => board.uid !== undefined && board.title !== undefined);
}
