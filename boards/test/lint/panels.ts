/** Rules about single panels: what they say of themselves, units, and where their data come from. */
import { createRequire } from 'node:module';
import type { DataSourceRef, Panel } from '../../preview/query/index.ts';
import { everyQuery, promqlOf, shownPanels, sqlOf, type Rule } from './finding.ts';

const PARTS = ['Definition', 'Source', 'Caveat', 'If red'];
/** These have no axis and no number of their own; a table's columns have units where they are not counts. */
const WITHOUT_UNIT = ['table', 'logs', 'traces', 'alertlist', 'text', 'state-timeline'];
/** These ask nothing, or ask the ruler. */
const WITHOUT_TARGET = ['alertlist', 'text'];
/** By type of plugin, the variable that names the data source. */
const SOURCES: Record<string, string> = {
  prometheus: '${datasource}',
  'grafana-clickhouse-datasource': '${ch}',
};
const MIXED = { type: 'datasource', uid: '-- Mixed --' };

/** Grafana's units that carry their own form, such as a time's. */
const CUSTOM_UNIT = /^time:[A-Za-z:. -]+$/;

export const PANELS: Record<string, Rule> = {
  title: (board, report) => {
    for (const panel of shownPanels(board).filter(({ title }) => !title?.trim())) {
      report(panel, 'it has no title');
    }
  },
  description: (board, report) => {
    for (const panel of shownPanels(board)) {
      const missing = PARTS.filter((part) => !new RegExp(`\\*\\*${part}:\\*\\* \\S`).test(panel.description ?? ''));
      if (missing.length > 0) {
        report(panel, `its description lacks ${missing.join(', ')}`);
      }
    }
  },
  unit: (board, report) => {
    for (const panel of shownPanels(board).filter(({ type }) => !WITHOUT_UNIT.includes(type))) {
      const unit = panel.fieldConfig?.defaults.unit;
      if (unit === undefined) {
        report(panel, 'it shows numbers without a unit');
      }
    }
    for (const panel of shownPanels(board)) {
      for (const unit of unitsOf(panel).filter((name) => !KNOWN_UNITS.has(name) && !CUSTOM_UNIT.test(name))) {
        report(panel, `Grafana has no unit "${unit}"`);
      }
    }
  },
  'no-value': (board, report) => {
    for (const panel of shownPanels(board).filter(({ fieldConfig }) => !fieldConfig?.defaults.noValue)) {
      report(panel, 'without a value it would look like 0');
    }
  },
  targets: (board, report) => {
    for (const panel of shownPanels(board).filter(({ type }) => !WITHOUT_TARGET.includes(type))) {
      const asked = (panel.targets ?? []).filter(
        (target) => !target.hide && (promqlOf(target) ?? sqlOf(target))?.trim(),
      );
      const names = asked.map(({ refId }) => refId);
      if (asked.length === 0) {
        report(panel, 'it asks nothing');
      } else if (new Set(names).size < names.length || names.includes('')) {
        report(panel, `its queries are named ${names.join(', ')}`);
      }
    }
  },
  'data-source': (board, report) => {
    for (const panel of shownPanels(board)) {
      const isMixed = panel.datasource?.type === MIXED.type && panel.datasource.uid === MIXED.uid;
      if (!isMixed && !isTemplated(panel.datasource)) {
        report(panel, `its data source is ${JSON.stringify(panel.datasource)}`);
      }
    }
    for (const { subject, target } of everyQuery(board).filter(({ target }) => !isTemplated(target.datasource))) {
      report(subject, `the data source of query ${target.refId} is ${JSON.stringify(target.datasource)}`);
    }
    for (const { name, type, datasource } of board.templating?.list ?? []) {
      if (type === 'query' && !isTemplated(datasource)) {
        report(`variable ${name}`, `its data source is ${JSON.stringify(datasource)}`);
      }
    }
  },
};

/** Whether a reference names its data source by the variable for its type. */
function isTemplated(ref: DataSourceRef | null | undefined): boolean {
  return ref?.type !== undefined && SOURCES[ref.type] !== undefined && ref.uid === SOURCES[ref.type];
}

function unitsOf({ fieldConfig }: Panel): string[] {
  const overrides = (fieldConfig?.overrides ?? []).flatMap(({ properties }) => properties);
  const units = [fieldConfig?.defaults.unit, ...overrides.flatMap(({ id, value }) => (id === 'unit' ? [value] : []))];
  return units.filter((unit): unit is string => typeof unit === 'string');
}

/** By Grafana's own list. Its module for browsers cannot be imported here, and it asks the browser for its language. */
const KNOWN_UNITS = (() => {
  if (!('navigator' in globalThis)) {
    Object.assign(globalThis, { navigator: { language: 'en', languages: ['en'] } });
  }
  const data = createRequire(import.meta.url)('@grafana/data') as typeof import('@grafana/data');
  return new Set(Object.keys(data.getValueFormatterIndex()));
})();
