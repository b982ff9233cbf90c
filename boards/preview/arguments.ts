/**
 * Reads the arguments of the scripts: `--name value`, `--flag`, and the rest by position.
 */
import { parseArgs } from 'node:util';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's folder. */
export const PACKAGE = dirname(dirname(fileURLToPath(import.meta.url)));

/** What an argument may be. */
export type Known = Record<string, { type: 'string' | 'boolean'; multiple?: boolean; default?: string | boolean }>;

/** Parses the process's arguments; a mistake is told in one line and ends it with 64. */
export function readArguments<T extends Known>(known: T) {
  try {
    return parseArgs({ options: known, allowPositionals: true });
  } catch (error) {
    console.error((error as Error).message);
    process.exit(64);
  }
}

/** Where the bundle lies: what is given, else `BOARDS_BUNDLE`, else a folder in the user's cache. */
export function bundleFolder(given?: string): string {
  return (
    given ??
    process.env['BOARDS_BUNDLE'] ??
    join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'eventline-boards')
  );
}
