/**
 * The project's documents as pages, so that an alert's link to its runbook leads somewhere.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Marked } from 'marked';
import { Refusal } from './request.ts';

/** A document's name: nothing that leads elsewhere. */
const NAME = /^[a-z][a-z-]*\.md$/;

/** A document of a folder as a page of HTML; headings can be linked to, as they are on the project's site. */
export async function documentPage(folder: string, name: string): Promise<string> {
  if (!NAME.test(name)) {
    throw new Refusal(404, `${name} is no document`);
  }
  const text = await readFile(join(folder, name), 'utf8').catch(() => {
    throw new Refusal(404, `there is no document ${name}`);
  });
  const marked = new Marked({
    renderer: {
      heading({ tokens, depth, text: heading }) {
        return `<h${depth} id="${anchorOf(heading)}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
      },
    },
  });
  return `<!doctype html><meta charset="utf-8"><title>${name}</title><style>${STYLE}</style><main>${await marked.parse(text)}</main>`;
}

/** What a link to a heading names: its letters, digits and hyphens, in lower case. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} -]/gu, '')
    .trim()
    .replace(/ /g, '-');
}

const STYLE =
  'body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}main{max-width:52rem;margin:auto}' +
  'pre{background:#f4f5f5;padding:1rem;overflow:auto}code{font-size:.9em}table{border-collapse:collapse}' +
  'td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left}:target{background:#fff3c4}';
