/** Rules about PromQL, read with the parser that Prometheus' own editor uses. */
import type { SyntaxNode } from '@lezer/common';
import { parser } from '@prometheus-io/lezer-promql';
import { everyQuery, promqlOf, type Board, type Rule } from './finding.ts';

/** Functions of a range; what they are told must fit the range or the step that is looked at. */
const OVER_RANGE = new Set([
  'rate',
  'irate',
  'increase',
  'delta',
  'idelta',
  'deriv',
  'predict_linear',
  'resets',
  'changes',
]);
/** Of these, the ones that know that a counter begins again. */
const OF_COUNTERS = new Set(['rate', 'irate', 'increase', 'resets']);
/** Windows that follow the board, as durations that nobody writes. */
const WINDOWS: Record<string, string> = { $__rate_interval: '7777s', $__range: '8888s', $__interval: '9999s' };
const FITTING = [WINDOWS['$__rate_interval'], WINDOWS['$__range']];
/** Series of the programs themselves, and what is derived of the Menu API. */
const OWN_SERIES = /^(edge|hub|process|ready)_/;
const DERIVED_SERIES = /^(menu|span)[_:]/;
/** The order flow; what its reconciler says of itself is of no market. */
const ORDER_SERIES = /^(orders?|broker|canary|gateway)[_:](?!reconciler_)/;

export const PROMQL: Record<string, Rule> = {
  'promql-parse': (board, report) => {
    for (const { subject, text, tree } of parsed(board)) {
      const wrong = find(tree, ({ type }) => type.isError)[0];
      if (wrong) {
        report(subject, `no PromQL at ${wrong.from}: ${text}`);
      }
    }
  },
  'rate-window': (board, report) => {
    for (const { subject, text, tree } of parsed(board)) {
      for (const range of find(tree, ({ name }) => name === 'MatrixSelector')) {
        const window = range.getChild('DurationExpr');
        const written = window ? text.slice(window.from, window.to) : '';
        if (functionsAround(range, text).some((name) => OVER_RANGE.has(name)) && !FITTING.includes(written)) {
          report(subject, `the window [${written}] does not follow the board: ${text.slice(range.from, range.to)}`);
        }
      }
    }
  },
  'counter-in-rate': (board, report) => {
    for (const { subject, text, selector, name } of selectors(board)) {
      const isCounter = /_(total|bucket)$/.test(name);
      if (isCounter && !functionsAround(selector, text).some((around) => OF_COUNTERS.has(around))) {
        report(subject, `the counter ${name} is read as it stands`);
      }
    }
  },
  'process-matchers': (board, report) => {
    for (const { subject, text, selector, name } of selectors(board).filter(({ name }) => OWN_SERIES.test(name))) {
      demand(board, ['job', 'instance'], text.slice(selector.from, selector.to), (missing) =>
        report(subject, `${name} is not narrowed by ${missing}`),
      );
    }
  },
  'service-matcher': (board, report) => {
    for (const { subject, text, selector, name } of selectors(board).filter(({ name }) => DERIVED_SERIES.test(name))) {
      demand(board, ['service'], text.slice(selector.from, selector.to), (missing) =>
        report(subject, `${name} is not narrowed by ${missing}`),
      );
    }
  },
  'market-matcher': (board, report) => {
    for (const { subject, text, selector, name } of selectors(board).filter(({ name }) => ORDER_SERIES.test(name))) {
      demand(board, ['market'], text.slice(selector.from, selector.to), (missing) =>
        report(subject, `${name} is not narrowed by ${missing}`),
      );
    }
  },
};

/** Says each of the board's variables that no matcher of the selector uses. */
function demand(board: Board, variables: string[], selector: string, say: (missing: string) => void): void {
  const has = new Set(board.templating?.list?.map(({ name }) => name));
  const missing = variables.filter((name) => has.has(name) && !selector.includes(`${name}=~"$${name}"`));
  if (missing.length > 0) {
    say(missing.join(', '));
  }
}

function parsed(board: Board) {
  return everyQuery(board).flatMap(({ subject, target }) => {
    const written = promqlOf(target);
    if (written === undefined) {
      return [];
    }
    const text = written.replace(/\$__range_s\b/g, '1').replace(/\$__\w+/g, (name) => WINDOWS[name] ?? name);
    return [{ subject, text, tree: parser.parse(text).topNode }];
  });
}

/** Every selector with the metric that it names; one that names it by a matcher is found by the whole matcher. */
function selectors(board: Board) {
  return parsed(board).flatMap(({ subject, text, tree }) =>
    find(tree, ({ name }) => name === 'VectorSelector').map((selector) => {
      const metric = selector.getChild('Identifier');
      const named = /__name__=~?"([^"]*)"/.exec(text.slice(selector.from, selector.to))?.[1];
      return { subject, text, selector, name: metric ? text.slice(metric.from, metric.to) : (named ?? '') };
    }),
  );
}

/** Names of the functions that a node is an argument of. */
function functionsAround(node: SyntaxNode, text: string): string[] {
  const names: string[] = [];
  for (let at = node.parent; at; at = at.parent) {
    const name = at.name === 'FunctionCall' ? at.getChild('FunctionIdentifier') : null;
    if (name) {
      names.push(text.slice(name.from, name.to));
    }
  }
  return names;
}

function find(top: SyntaxNode, fits: (node: SyntaxNode) => boolean): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  top.cursor().iterate(({ node }) => {
    if (fits(node)) {
      found.push(node);
    }
  });
  return found;
}
