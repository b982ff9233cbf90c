/** The incident board, asked in scenes: no panel is empty, the pair of points that it names is the fault's, and green stays green. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FAULTS, FIRST_MISSING, flows, shown, type Fault, type Flow } from '../src/rules/scenes/orders/flow.ts';
import { expressionTest } from '../src/rules/scenes/unit.ts';
import { promqlOf, shownPanels } from './lint/finding.ts';
import { readBoards } from './lint/index.ts';
import { check, ruleFiles } from './promtool.ts';

const LENGTH = '30m';
const PER_SECOND = 20;
/** Of the last quarter of an hour one order in twenty is lost. */
const LOST = { share: 0.05, from: '15m' };
/** A market without a fault, and one for each. */
const MARKETS: (Fault | 'healthy')[] = ['healthy', ...FAULTS];

const BOARD = readBoards().find(({ uid }) => uid === 'incident');
assert.ok(BOARD);
const PANELS = shownPanels(BOARD);

/** The queries of a panel as they are asked for one market, over the scene. */
function queries(title: string, market: string): string[] {
  const panel = PANELS.find((each) => each.title === title);
  assert.ok(panel, `no panel "${title}"`);
  return (panel.targets ?? []).map((target) =>
    (promqlOf(target) ?? '')
      .replaceAll('$market', market)
      .replaceAll('$__range', LENGTH)
      .replaceAll('$__rate_interval', '5m'),
  );
}

const MARKET_FLOWS: Flow[] = MARKETS.map((market) => ({
  market,
  perSecond: PER_SECOND,
  ...(market === 'healthy' ? {} : { loss: { fault: market, ...LOST } }),
}));

/** Whether each expression holds at the end of the scene. */
const holds = (expression: string) => ({ expression: `max(${expression})`, value: 1 });

/** A number that has to be within a share of another one: `increase` is drawn out to the ends of the window. */
const near = (expression: string, value: number) =>
  value === 0 ? holds(`abs(${expression}) < bool 1`) : holds(`abs((${expression}) / ${value} - 1) < bool 0.05`);

/** Orders that are lost and have been decided by the end. */
const DECIDED = PER_SECOND * LOST.share * (15 * 60 - 130);

test('every query of every panel answers, for every market', async () => {
  const all = MARKETS.flatMap((market) =>
    PANELS.flatMap(({ title }) => queries(title ?? '', market).map((query) => holds(`count(${query}) > bool 0`))),
  );
  assert.ok(all.length > 150, `${all.length} queries`);
  await answers(all, ruleFiles(['orders.yaml']));
});

test('the pair of points that a fault parts is named, and no other', async () => {
  await answers(
    MARKETS.flatMap((market) =>
      queries('Lost between two points', market).map((query, index) =>
        near(query, market !== 'healthy' && FIRST_MISSING[market] === index + 2 ? DECIDED : 0),
      ),
    ),
  );
});

test('six bars fall from the first point that misses orders on', async () => {
  await answers(
    MARKETS.flatMap((market) =>
      queries('Six points', market).map((query, index) =>
        holds(
          market !== 'healthy' && FIRST_MISSING[market] <= index + 1
            ? `(${query}) < bool 0.99 * (${queries('Six points', market)[0]})`
            : `(${query}) == bool (${queries('Six points', market)[0]})`,
        ),
      ),
    ),
  );
});

test('what stayed green is the same with a fault as without', async () => {
  await answers(
    MARKETS.flatMap((market) => [
      ...queries('What stayed green: answers', market).map((query) => holds(`(${query}) == bool 0`)),
      ...queries('What stayed green: pending', market).map((query) => holds(`(${query}) == bool 0`)),
      ...queries('What stayed green: CPU', market).map((query) => holds(`(${query}) < bool 0.8`)),
    ]),
  );
});

test('the numbers at the top are red with a fault and fine without', async () => {
  const isBad = (market: string, bad: string, query: string) =>
    holds(market === 'healthy' ? `1 - ((${query}) ${bad})` : `(${query}) ${bad}`);
  await answers(
    MARKETS.flatMap((market) => [
      ...queries('Paid orders confirmed', market).map((query) => isBad(market, '< bool 0.999', query)),
      ...queries('Oldest unconfirmed', market).map((query) => isBad(market, '> bool 180', query)),
      ...queries('Residual', market).map((query) => isBad(market, '>= bool 1', query)),
      ...queries('Orders harmed', market).map((query) => near(query, market === 'healthy' ? 0 : DECIDED)),
    ]),
  );
});

/** Asks all of it; the recorded series are there when rules are given. */
async function answers(expected: { expression: string; value: number }[], rules = {}): Promise<void> {
  const series = [...flows(MARKET_FLOWS), ...MARKET_FLOWS.flatMap(shown)];
  const outcome = await check(rules, (paths) =>
    expressionTest({ name: 'the incident board', series, length: LENGTH, interval: '10s' }, paths, expected),
  );
  assert.ok(outcome.passed, outcome.output);
}
