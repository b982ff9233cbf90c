/** What panels work out before they draw: trees of spans, bars, cells, lines of logs, places in the grid. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { field, frame, type Panel, type Section } from '../../query/index.ts';
import { layOut, sizeOf } from '../shell/layout.ts';
import { barsOf, type BarInput } from './bar-layout.ts';
import { extent, heatOf } from './heatmap-data.ts';
import { levelOf, logRows } from './logs-data.ts';
import { traceOf } from './trace-data.ts';

test('spans become a tree in order of time, and one without its parent stands at the root', () => {
  const trace = traceOf([
    frame('A', [
      field('traceID', 'string', ['t', 't', 't', 't']),
      field('spanID', 'string', ['c', 'a', 'b', 'lost']),
      field('parentSpanID', 'string', ['a', '', 'a', 'gone']),
      field('serviceName', 'string', ['menu', 'gateway', 'menu', 'other']),
      field('operationName', 'string', ['late', 'root', 'early', 'orphan']),
      field('startTime', 'time', [30, 0, 10, 50]),
      field('duration', 'number', [5, 60, 5, 20]),
      field('tags', 'other', [[{ key: 'error', value: true }], {}, [['k', 'v']], null]),
      field('statusCode', 'string', ['Unset', 'Error', '', '']),
    ]),
  ]);
  assert.deepEqual(
    trace?.spans.map(({ operation, depth, hasChildren, isError }) => [operation, depth, hasChildren, isError]),
    [
      ['root', 0, true, true],
      ['early', 1, false, false],
      ['late', 1, false, true],
      ['orphan', 0, false, false],
    ],
  );
  assert.deepEqual([trace?.start, trace?.duration, trace?.services], [0, 70, ['gateway', 'menu', 'other']]);
  assert.deepEqual(trace?.spans[1]?.tags, [{ key: 'k', value: 'v' }]);
  assert.equal(traceOf([frame('A', [field('x', 'number', [1])])]), undefined);
});

test('bars stand beside each other, or on each other, below zero downwards', () => {
  const series = (name: string, ...values: Array<number | null>): BarInput['series'][number] => ({
    name,
    values,
    color: () => 'red',
    legendColor: 'red',
    text: String,
  });
  const input: BarInput = {
    categories: ['x', 'y'],
    series: [series('a', 1, 2), series('b', 3, null), series('c', -2, 1)],
    stacking: 'none',
    groupWidth: 0.9,
    barWidth: 1,
  };
  const beside = barsOf(input);
  assert.equal(beside.bars.length, 5, 'nothing has no bar');
  assert.ok(Math.abs((beside.bars[1]?.from ?? 0) - 0.35) < 1e-9);
  const stacked = barsOf({ ...input, stacking: 'normal' });
  assert.deepEqual(
    stacked.bars.slice(0, 3).map(({ low, high }) => [low, high]),
    [
      [0, 1],
      [1, 4],
      [0, -2],
    ],
  );
  const percent = barsOf({
    ...input,
    categories: ['x'],
    stacking: 'percent',
    series: [series('a', 1), series('b', 3)],
  });
  assert.deepEqual(
    percent.bars.map(({ low, high }) => [low, high]),
    [
      [0, 0.25],
      [0.25, 1],
    ],
  );
});

test('cells come from buckets by column and from native histograms', () => {
  const rows = heatOf([
    frame('A', [
      field('Time', 'time', [0, 1000]),
      field('0.1', 'number', [1, null], {}, { le: '0.1' }),
      field('+Inf', 'number', [0, 4], {}, { le: '+Inf' }),
    ]),
  ]);
  assert.deepEqual(rows.rows, ['0.1', '+Inf']);
  assert.deepEqual(
    rows.cells.map(({ from, to, low, count }) => [from, to, low, count]),
    [
      [0, 1000, 0, 1],
      [0, 1000, 1, 0],
      [1000, 2000, 1, 4],
    ],
  );
  assert.deepEqual(extent(rows.cells, 1e-9), { min: 1, max: 4 });
  const native = heatOf([
    frame('A', [
      field('xMax', 'time', [1000]),
      field('yMin', 'number', [0.5]),
      field('yMax', 'number', [1]),
      field('count', 'number', [7]),
    ]),
  ]);
  assert.deepEqual([native.rows, native.cells[0]?.low, native.cells[0]?.high, native.cells[0]?.count], [[], 0.5, 1, 7]);
});

test('log lines are sorted, with their level and labels', () => {
  const lines = frame('A', [
    field('Timestamp', 'time', [1, 3, 2]),
    field('Body', 'string', ['a', 'b', 'c']),
    field('SeverityText', 'string', ['WARN', '', 'Fatal']),
    field('labels', 'other', [{ path: '/x', empty: '' }, {}, {}]),
  ]);
  assert.deepEqual(
    logRows([lines], false).map(({ body, level }) => [body, level]),
    [
      ['b', 'unknown'],
      ['c', 'critical'],
      ['a', 'warning'],
    ],
  );
  assert.deepEqual(
    logRows([lines], true)[0]?.details.map(({ key, value }) => [key, value]),
    [
      ['SeverityText', 'WARN'],
      ['path', '/x'],
    ],
  );
  assert.deepEqual(['error', 'INFO', 'notice', 'dbug', 'x'].map(levelOf), [
    'error',
    'info',
    'info',
    'debug',
    'unknown',
  ]);
});

test('a folded row takes one unit, and what follows moves up', () => {
  const panel = (id: number, type: string, y: number, h: number): Panel => ({
    id,
    type,
    gridPos: { x: 12, y, w: 12, h },
  });
  const sections: Section[] = [
    { panels: [panel(1, 'stat', 0, 4)] },
    { row: panel(2, 'row', 4, 1), panels: [panel(3, 'stat', 5, 8)] },
    { row: panel(4, 'row', 13, 1), panels: [panel(5, 'stat', 14, 2)] },
  ];
  const at = (collapsed: number[]) =>
    layOut(sections, new Set(collapsed)).places.map(({ panel: { id }, y }) => [id, y / 38]);
  assert.deepEqual(at([]), [
    [1, 0],
    [2, 4],
    [3, 5],
    [4, 13],
    [5, 14],
  ]);
  assert.deepEqual(at([2]), [
    [1, 0],
    [2, 4],
    [4, 5],
    [5, 6],
  ]);
  assert.deepEqual(sizeOf(panel(1, 'stat', 0, 4), 1240), { left: 624, width: 616, height: 144 });
});
