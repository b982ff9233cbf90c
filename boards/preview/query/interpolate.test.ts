/** What a reference in a text becomes, format by format. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL, builtInLookup, interpolateText, variableLookup } from './context.ts';
import { contextOf, fakeHttp, variable, variables } from './fixture.ts';
import { firstOf, interpolate } from './interpolate.ts';

const { http } = fakeHttp(() => ({ body: '' }));
const HOSTILE = `O'Brien \\ "x") {{`;

test('a reference becomes its value in the format it names', () => {
  const lookup = variableLookup(
    variables(
      variable('one', ['list']),
      variable('two', ['a', 'b']),
      variable('odd', [HOSTILE]),
      variable('path', ['a.b|c']),
      variable('all', [ALL], {
        options: [
          { text: 'a', value: 'a' },
          { text: 'b', value: 'b' },
        ],
      }),
      variable('any', [ALL], { allValue: '.+' }),
    ),
  );
  const expected: Array<[text: string, becomes: string]> = [
    ['$one', 'list'],
    ['${one}', 'list'],
    ['[[one]]', 'list'],
    ['${one}_x $one_x', 'list_x $one_x'],
    ['$two', '{a,b}'],
    ['${two:csv}', 'a,b'],
    ['${two:raw}', 'a,b'],
    ['${two:pipe}', 'a|b'],
    ['${two:regex}', '(a|b)'],
    ['${path:regex}', 'a\\.b\\|c'],
    ['${two:singlequote}', "'a','b'"],
    ['${two:doublequote}', '"a","b"'],
    ['${two:sqlstring}', "'a','b'"],
    ['${two:json}', '["a","b"]'],
    ['${two:join: + }', 'a + b'],
    ['${two:distributed}', 'a,two=b'],
    ['${two:queryparam}', 'var-two=a&var-two=b'],
    ['${two:percentencode}', '%7Ba%2Cb%7D'],
    ['${two:text}', 'a + b'],
    ['${two:unheardof}', '{a,b}'],
    ['${odd:sqlstring}', `'O''Brien \\ "x") {{'`],
    ['${odd:singlequote}', `'O\\'Brien \\ "x") {{'`],
    ['${odd:percentencode}', 'O%27Brien%20%5C%20%22x%22%29%20%7B%7B'],
    ['${odd:html}', 'O&#39;Brien \\ &quot;x&quot;) {{'],
    ['${all:singlequote}', "'a','b'"],
    ['${all:queryparam}', 'var-all=%24__all'],
    ['$any ${any:singlequote} ${any:text} ${any:queryparam}', '.+ .+ All var-any=%24__all'],
    ['$unknown ${unknown:csv} $__timeFilter(t)', '$unknown ${unknown:csv} $__timeFilter(t)'],
  ];
  for (const [text, becomes] of expected) {
    assert.equal(interpolate(text, lookup), becomes, text);
  }
});

test('times and ranges have the names that Grafana gives them', () => {
  const context = contextOf(http, variable('route', ['list', 'item']));
  const lookup = firstOf(builtInLookup(context), variableLookup(context.variables));
  const expected: Array<[text: string, becomes: string]> = [
    ['${__from}', '1796018400000'],
    ['$__to', '1796040000000'],
    ['${__to:date}', '2026-11-30T12:00:00.000Z'],
    ['${__to:date:seconds}', '1796040000'],
    ['${__to:date:YYYY-MM-DD HH:mm}', '2026-11-30 12:00'],
    ['[$__range] $__range_s ${__range_ms}', '[21600s] 21600 21600000'],
    ['${__dashboard} ${__dashboard.uid}', 'SLO slo'],
    ['?${__url_time_range}&${__all_variables}', '?from=now-6h&to=now&var-route=list&var-route=item'],
  ];
  for (const [text, becomes] of expected) {
    assert.equal(interpolate(text, lookup), becomes, text);
  }
  assert.equal(interpolateText('Requests of $route', context), 'Requests of list + item');
});
