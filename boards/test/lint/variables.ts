/** Rules about variables: known, used, and no way for a visitor's text into a query. */
import type { VariableModel } from '../../preview/query/index.ts';
import { everyPanel, everyQuery, promqlOf, sqlOf, textsOf, type Board, type Rule } from './finding.ts';

/** What Grafana and the ClickHouse plugin put in themselves. */
const BUILT_IN =
  /^__(interval|interval_ms|interval_s|rate_interval|range|range_s|range_ms|from|to|url_time_range|all_variables|data|value|field|series|timeFilter|timeFilter_ms|timeInterval|timeInterval_ms|fromTime|toTime|fromTime_ms|toTime_ms|dateFilter|conditionalAll)$/;
/** `$name`, `${name}`, `${name:format}`. A lone `$1` belongs to a mapping's regular expression. */
const REFERENCE = /\$(?:([a-zA-Z_]\w*)|\{([a-zA-Z_]\w*)(?:\.[^:}]+)?(?::([^}]+))?\})/g;
/** A visitor writes these; a variable that lists them would offer them to others as choices, and put them into queries. */
const VISITORS_TEXT =
  /\b(Body|LogAttributes|SpanAttributes|ResourceAttributes|SpanName|menu_item_id|path|url_path|message)\b/;
/** Formats that leave no way out of the quotes. */
const LIST_FORMAT = 'singlequote';
const TEXT_FORMAT = 'percentencode';

export const VARIABLES: Record<string, Rule> = {
  'variable-used': (board, report) => {
    const used = new Set(references(usingTexts(board)).map(({ name }) => name));
    for (const { name } of variablesOf(board).filter((variable) => !used.has(variable.name))) {
      report(`variable ${name}`, 'nothing on the board changes with it');
    }
  },
  'variable-known': (board, report) => {
    const known = new Set(variablesOf(board).map(({ name }) => name));
    const texts = [...usingTexts(board), ...textsOf(board.links), ...textsOf(everyPanel(board).map(linksOf))];
    for (const { name, text } of references(texts)) {
      if (!known.has(name) && !BUILT_IN.test(name)) {
        report(`variable ${name}`, `there is none of this name: ${text}`);
      }
    }
  },
  'variable-form': (board, report) => {
    for (const variable of variablesOf(board)) {
      const wrong = wrongIn(variable);
      if (wrong.length > 0) {
        report(`variable ${variable.name}`, wrong.join('; '));
      }
    }
  },
  'variable-source': (board, report) => {
    for (const { name, type, query } of variablesOf(board).filter((variable) => variable.type === 'query')) {
      const text = textsOf(query).join(' ');
      if (VISITORS_TEXT.test(text)) {
        report(`variable ${name}`, `a ${type} of what visitors write: ${text}`);
      }
    }
  },
  'variable-escaped': (board, report) => {
    const types = new Map(variablesOf(board).map(({ name, type }) => [name, type]));
    for (const { subject, target } of everyQuery(board)) {
      const sql = sqlOf(target);
      for (const { name, format, before } of sql === undefined ? [] : references([sql])) {
        if (types.has(name) && !isEscaped(types.get(name) ?? '', format, before)) {
          report(subject, `\${${name}} goes into SQL as it was written`);
        }
      }
      for (const { name, before } of references([promqlOf(target) ?? '']).filter(({ name }) => types.has(name))) {
        if (!/=~?"$/.test(before)) {
          report(subject, `$${name} stands in PromQL outside of a matcher's quotes`);
        }
      }
    }
  },
};

/** Whether a value cannot leave its quotes: those of a list get them with it, any other stands in quotes, encoded. */
function isEscaped(type: string, format: string | undefined, before: string): boolean {
  return type === 'query' ? format === LIST_FORMAT : format === TEXT_FORMAT && before.endsWith("'");
}

export const variablesOf = (board: Board): VariableModel[] => board.templating?.list ?? [];

/** Texts in which a variable changes what the board shows. */
function usingTexts(board: Board): string[] {
  const panels = everyPanel(board).map(({ title, targets, datasource, timeFrom, interval, repeat }) => [
    title,
    targets,
    datasource,
    timeFrom,
    interval,
    repeat === undefined ? '' : `$${repeat}`,
  ]);
  const variables = variablesOf(board).map(({ query, definition, datasource }) => [query, definition, datasource]);
  return textsOf([panels, variables, board.annotations?.list]);
}

/** The links of a panel and of its fields. */
export function linksOf(panel: { links?: unknown; fieldConfig?: unknown }): unknown {
  const { defaults, overrides } = (panel.fieldConfig ?? {}) as {
    defaults?: { links?: unknown };
    overrides?: { properties: { id: string; value?: unknown }[] }[];
  };
  const ofFields = (overrides ?? []).flatMap(({ properties }) => properties.filter(({ id }) => id === 'links'));
  return [panel.links, defaults?.links, ofFields];
}

function references(texts: string[]) {
  return texts.flatMap((text) =>
    [...text.matchAll(REFERENCE)].map((match) => ({
      name: match[1] ?? match[2] ?? '',
      format: match[3],
      before: text.slice(0, match.index),
      text,
    })),
  );
}

function wrongIn({ name, type, label, refresh, multi, includeAll, allValue }: VariableModel): string[] {
  const isQuery = type === 'query';
  const isProcess = name === 'job' || name === 'instance';
  return [
    label ? '' : 'no label',
    isQuery && refresh !== 2 ? 'its choices do not follow the range' : '',
    isQuery && !(multi && includeAll) ? 'it cannot stand for several or for all' : '',
    isProcess && allValue !== '.+' ? 'for all of them it lists each' : '',
    name === 'datasource' && label !== 'Data Source' ? 'the label is not "Data Source"' : '',
  ].filter((text) => text !== '');
}
