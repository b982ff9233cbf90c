/** Rules about links: each leads to a board that is there, with variables that it has, and from fields that the panel has. */
import type { Panel } from '../../preview/query/index.ts';
import { everyPanel, textsOf, type Board, type Rule } from './finding.ts';
import { linksOf, variablesOf } from './variables.ts';

export const LINKS: Record<string, Rule> = {
  'link-board': (board, report, boards) => {
    for (const { subject, url } of addresses(board)) {
      const uid = uidOf(url);
      if (!boards.some((other) => other.uid === uid)) {
        report(subject, `it leads to no board: ${url}`);
      }
    }
    for (const { title, tags } of (board.links ?? []).filter(({ type }) => type === 'dashboards')) {
      if (!boards.some((other) => other.uid !== board.uid && tags?.every((tag) => other.tags?.includes(tag)))) {
        report(`link ${title}`, `no other board has the tags ${(tags ?? []).join(', ')}`);
      }
    }
  },
  'link-variable': (board, report, boards) => {
    for (const { subject, url } of addresses(board)) {
      const target = boards.find(({ uid }) => uid === uidOf(url));
      const known = new Set(target ? variablesOf(target).map(({ name }) => name) : []);
      for (const name of target ? carried(url).filter((each) => !known.has(each)) : []) {
        report(subject, `${target?.uid ?? ''} has no variable "${name}": ${url}`);
      }
    }
  },
  'link-range': (board, report) => {
    for (const { subject, url } of addresses(board)) {
      if (!url.includes('${__url_time_range}')) {
        report(subject, `it leaves the range behind: ${url}`);
      }
    }
  },
  'link-field': (board, report) => {
    for (const panel of everyPanel(board)) {
      const queries = textsOf(panel.targets);
      const names = textsOf(linksOf(panel)).flatMap((text) => [...text.matchAll(/__data\.fields\["([^"]+)"\]/g)]);
      for (const name of names.map((match) => match[1] ?? '')) {
        if (!queries.some((query) => query.includes(`AS "${name}"`))) {
          report(panel, `no query of it gives a field "${name}"`);
        }
      }
    }
  },
};

const uidOf = (url: string): string | undefined => /^\/d\/([^/?]+)/.exec(url)?.[1];

/** Every address that a panel leads to. */
function addresses(board: Board): { subject: Panel; url: string }[] {
  return everyPanel(board).flatMap((subject) =>
    textsOf(linksOf(subject))
      .filter((text) => /^(\/|\w+:)/.test(text))
      .map((url) => ({ subject, url })),
  );
}

/** Variables that an address hands over by name. */
function carried(url: string): string[] {
  const named = [...url.matchAll(/[?&]var-(\w+)=/g)].map((match) => match[1] ?? '');
  const whole = [...url.matchAll(/\$\{(\w+):queryparam\}/g)].map((match) => match[1] ?? '');
  return [...named, ...whole];
}
