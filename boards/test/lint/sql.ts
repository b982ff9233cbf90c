/** Rules about SQL: bounded in time and in rows, and of the chosen services only. */
import { everyQuery, sqlOf, type Board, type Rule } from './finding.ts';

/** The plugin's format of a time series. */
const TIME_SERIES = 0;
const AGGREGATES =
  /\b(count|sum|avg|min|max|any|uniq|quantile|argMin|argMax|groupArray|countIf|sumIf|avgIf|minIf|maxIf|uniqIf)\s*\(/i;

export const SQL: Record<string, Rule> = {
  'sql-time': (board, report) => {
    for (const { subject, sql } of queries(board)) {
      if (!/\$__(timeFilter|dateFilter|dateTimeFilter|fromTime|toTime)/.test(sql)) {
        report(subject, `it reads all times: ${sql}`);
      }
    }
  },
  'sql-bounded': (board, report) => {
    for (const { subject, sql } of queries(board)) {
      if (!/\bLIMIT \d+$/.test(sql) && !givesOneRow(sql)) {
        report(subject, `it has neither LIMIT nor a single row: ${sql}`);
      }
    }
  },
  'sql-star': (board, report) => {
    for (const { subject, sql } of queries(board)) {
      if (/(\bSELECT\s+(DISTINCT\s+)?|,\s*)(\w+\.)?\*/i.test(sql)) {
        report(subject, `a column that is added changes what it shows: ${sql}`);
      }
    }
  },
  'sql-time-series': (board, report) => {
    for (const { subject, sql, target } of queries(board)) {
      if (target['format'] === TIME_SERIES && !(/ AS time\b/.test(sql) && /ORDER BY time\b/.test(sql))) {
        report(subject, `a time series needs a column \`time\` and its order: ${sql}`);
      }
    }
  },
  'sql-service': (board, report) => {
    const isChosen = board.templating?.list?.some(({ name }) => name === 'service');
    for (const { subject, sql } of isChosen ? queries(board) : []) {
      const reads = sql.match(/\bFROM (menu_requests|otel_logs|otel_traces)\b/g)?.length ?? 0;
      const narrowed = sql.match(/\b(service|ServiceName) IN \(\$\{service:/g)?.length ?? 0;
      if (narrowed < reads) {
        report(subject, `it reads ${reads} times and is narrowed to the chosen services ${narrowed} times: ${sql}`);
      }
    }
  },
};

function queries(board: Board) {
  return everyQuery(board).flatMap(({ subject, target }) => {
    const sql = sqlOf(target)?.trim();
    return sql === undefined ? [] : [{ subject, target, sql }];
  });
}

/**
 * Whether a statement gives one row whatever the tables hold: it groups by nothing, and it aggregates or reads only from
 * what gives one row itself.
 */
function givesOneRow(sql: string): boolean {
  const { ctes, select } = split(sql);
  const outer = atDepthZero(select);
  if (/\bGROUP BY\b/i.test(outer)) {
    return false;
  }
  const from = /\bFROM\b(.*?)(\bWHERE\b|\bORDER BY\b|\bLIMIT\b|$)/is.exec(outer)?.[1] ?? '';
  const columns = outer.replace(/\bFROM\b.*/is, '');
  if (AGGREGATES.test(columns)) {
    return true;
  }
  const sources = from.split(',').map((source) => source.trim());
  const inner = subqueries(select);
  return sources.every((source) => {
    const name = /^\w+/.exec(source)?.[0];
    return name === undefined
      ? inner.length > 0 && inner.every(givesOneRow)
      : givesOneRow(ctes.get(name) ?? 'SELECT FROM t GROUP BY t');
  });
}

/** `WITH a AS (…), b AS (…) SELECT …` in its parts. */
function split(sql: string): { ctes: Map<string, string>; select: string } {
  const ctes = new Map<string, string>();
  let rest = sql.trim();
  if (!/^WITH\b/i.test(rest)) {
    return { ctes, select: rest };
  }
  rest = rest.replace(/^WITH\s+/i, '');
  for (let match = /^(\w+) AS \(/.exec(rest); match; match = /^(\w+) AS \(/.exec(rest)) {
    const end = closing(rest, match[0].length - 1);
    ctes.set(match[1] ?? '', rest.slice(match[0].length, end).trim());
    rest = rest.slice(end + 1).replace(/^[\s,]+/, '');
  }
  return { ctes, select: rest };
}

/** The statements in parentheses that a select reads from. */
function subqueries(select: string): string[] {
  const found: string[] = [];
  const start = /\bFROM\s*\(/gi;
  for (let match = start.exec(select); match; match = start.exec(select)) {
    const open = match.index + match[0].length - 1;
    const end = closing(select, open);
    found.push(select.slice(open + 1, end).trim());
    start.lastIndex = end;
  }
  return found;
}

/** The text with what stands in parentheses left out, but for the names of aggregates that are called. */
function atDepthZero(sql: string): string {
  let kept = '';
  for (let at = 0; at < sql.length; at += 1) {
    const character = sql[at] ?? '';
    if (character === "'") {
      at = sql.indexOf("'", at + 1);
    } else if (character === '(') {
      // A scalar subquery aggregates for itself; what is called around columns aggregates for the statement.
      const inner = sql.slice(at + 1, closing(sql, at));
      kept += /^\s*(SELECT|WITH)\b/i.test(inner) ? '( )' : `( ${aggregatesIn(inner)} )`;
      at = closing(sql, at);
    } else {
      kept += character;
    }
  }
  return kept;
}

/** The calls of aggregates within an expression, subqueries left out. */
function aggregatesIn(expression: string): string {
  const own = expression.replace(/\(\s*SELECT\b.*$/is, '');
  return AGGREGATES.test(own) ? 'sum()' : '';
}

/** The index of the parenthesis that closes the one at `open`. */
function closing(sql: string, open: number): number {
  let depth = 0;
  for (let at = open; at < sql.length; at += 1) {
    if (sql[at] === "'") {
      at = sql.indexOf("'", at + 1);
    } else if (sql[at] === '(') {
      depth += 1;
    } else if (sql[at] === ')' && --depth === 0) {
      return at;
    }
  }
  return sql.length;
}
