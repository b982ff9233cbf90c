/** What macros of the ClickHouse data source become. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expandConditionalAll, expandMacros, MacroError } from './macros.ts';

const CONTEXT = { from: Date.UTC(2026, 10, 30, 6), to: Date.UTC(2026, 10, 30, 12) + 250, interval: 30_000 };

test('a macro becomes the SQL that the plugin sends', () => {
  const expected: Array<[sql: string, becomes: string]> = [
    [
      'WHERE $__timeFilter(Timestamp)',
      'WHERE Timestamp >= toDateTime(1796018400) AND Timestamp <= toDateTime(1796040000)',
    ],
    [
      '$__timeFilter_ms(Timestamp)',
      'Timestamp >= fromUnixTimestamp64Milli(1796018400000) AND Timestamp <= fromUnixTimestamp64Milli(1796040000250)',
    ],
    ['$__dateFilter(d)', "d >= toDate('2026-11-30') AND d <= toDate('2026-11-30')"],
    [
      '$__dateTimeFilter(d, t)',
      "(d >= toDate('2026-11-30') AND d <= toDate('2026-11-30')) AND (t >= toDateTime(1796018400) AND t <= toDateTime(1796040000))",
    ],
    ['$__fromTime .. $__toTime', 'toDateTime(1796018400) .. toDateTime(1796040000)'],
    ['$__fromTime_ms,$__toTime_ms', 'fromUnixTimestamp64Milli(1796018400000),fromUnixTimestamp64Milli(1796040000250)'],
    ['$__timeInterval(Timestamp) AS t', 'toStartOfInterval(toDateTime(Timestamp), INTERVAL 30 second) AS t'],
    ['$__timeInterval_ms(t)', 'toStartOfInterval(toDateTime64(t, 3), INTERVAL 30000 millisecond)'],
    ['count() / $__interval_s', 'count() / 30'],
    ["$__timeGroup(t, '5m')", 'toStartOfInterval(toDateTime(t), INTERVAL 300 second)'],
    ['$__timeFilter(if(a, b, c))', 'if(a, b, c) >= toDateTime(1796018400) AND if(a, b, c) <= toDateTime(1796040000)'],
    ["$__timeFilter(f(')', b))", "f(')', b) >= toDateTime(1796018400) AND f(')', b) <= toDateTime(1796040000)"],
    ['SELECT 1 -- $__timeFilter(x, y)\n, 2', 'SELECT 1 \n, 2'],
    ['SELECT 1 /* $__timeFilter() */ + 1', 'SELECT 1   + 1'],
    ["SELECT 'it\\'s -- not a comment', `a--b`", "SELECT 'it\\'s -- not a comment', `a--b`"],
    ['SELECT $__unknown(x)', 'SELECT $__unknown(x)'],
  ];
  for (const [sql, becomes] of expected) {
    assert.equal(expandMacros(sql, CONTEXT), becomes, sql);
  }
});

test('an interval below a second counts as a second where seconds are written', () => {
  assert.equal(expandMacros('$__interval_s', { ...CONTEXT, interval: 200 }), '1');
});

test('a macro with a wrong number of arguments is refused', () => {
  assert.throws(() => expandMacros('$__timeFilter(a, b)', CONTEXT), MacroError);
  assert.throws(() => expandMacros('$__timeFilter', CONTEXT), MacroError);
  assert.throws(() => expandMacros('$__timeFilter(a', CONTEXT), /not closed/);
  assert.throws(() => expandMacros('$__rateColumns(a, b, c) FROM t', CONTEXT), /does not expand/);
});

test('a conditional filter stays only while its variable is a choice', () => {
  const all: Record<string, boolean> = { route: true, service: false };
  const isAll = (name: string) => all[name];
  const expected: Array<[sql: string, becomes: string]> = [
    ['WHERE $__conditionalAll(Route IN (${route:singlequote}), $route)', 'WHERE 1=1'],
    ['WHERE $__conditionalAll(S IN (${service:singlequote}), ${service})', 'WHERE S IN (${service:singlequote})'],
    ['$__conditionalAll(x = 1, $nobody) AND $__conditionalAll(y = f(1, 2), $route)', 'x = 1 AND 1=1'],
    ["$__conditionalAll(a = '),' , $service)", "a = '),'"],
  ];
  for (const [sql, becomes] of expected) {
    assert.equal(expandConditionalAll(sql, isAll), becomes, sql);
  }
});
