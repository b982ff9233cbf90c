/**
 * Every query of every dashboard against real stores that the real line has filled: types, emptiness, numbers, hostile input.
 *
 * `e2e/tests/it/boards.rs` fills the stores and runs this. Without them nothing is tested, and the skipped tests say so.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { METRICS_OF_EVERY_LINE as METRICS } from '../src/semantic/index.ts';
import {
  alertRules,
  annotationQueries,
  panelsOf,
  runAnnotations,
  type Dashboard,
  type Panel,
  type PrometheusSource,
  type QueryContext,
} from '../preview/query/index.ts';
import { boardsOfEveryLine, readBoards } from './lint/index.ts';
import { calculate, type Chosen } from './stores/calculator.ts';
import { answersOf, figuresOf, isEmpty, textsIn, type Answer } from './stores/figures.ts';
import { METRIC_MUTATIONS, PANEL_MUTATIONS, mutatedPanel } from './stores/mutations.ts';
import { ask, disagreements, isWithinDifference, questions } from './stores/numbers.ts';
import { EXPECTED, differences, isMeant } from './stores/panel-numbers.ts';
import { EMPTY, wrongShape } from './stores/shapes.ts';
import { between, contextOf, failedTrace, missing, readFacts, sources, type Facts } from './stores/stores.ts';

const DAY = 86_400_000;
/** What a board opens with. */
const ASSUMED = { apdexT: 0.025, orderRate: 3 };
/** Real traffic; real and hand-written together, by whose rules series are derived; and one alone that is not derived. */
const DERIVED = ['mock-service', 'menu-api'];
const CALM = ['calm-menu'];
/** What nobody is called, and what must do no more than that. */
const NOBODY = 'nobody';
const HOSTILE = ["') OR 1=1 --", '{{x}}', '"', "'", '$__timeFilter(x)'];
/** Where a value is encoded this is harmless too; in a list Grafana's own quoting lets a backslash pass. */
const BACKSLASH = "\\') OR 1=1 --";
const LISTS = ['service', 'restaurant', 'category'];
const WRITTEN = ['job', 'instance', 'trace_id', 'search', 'order_rate'];
/** Of a series, or rows of a list. */
const MOST_POINTS = 2000;
/** Queries that are under way at once. */
const AT_ONCE = 4;

type Told = { board: Dashboard; panel: Panel; answers: Answer[] };

/** Asks panels of every board, each query once though several boards have it; a query that fails is named. */
async function askAll(
  contextFor: (board: Dashboard) => Promise<QueryContext>,
  isAsked: (panel: Panel) => boolean = () => true,
  atOnce = AT_ONCE,
) {
  const told: Told[] = [];
  const problems: string[] = [];
  const asked = new Set<string>();
  const waiting: (() => Promise<void>)[] = [];
  for (const board of boardsOfEveryLine()) {
    const context = await contextFor(board);
    for (const panel of panelsOf(board).filter(isAsked)) {
      const queries = JSON.stringify([panel.title, panel.targets]);
      if (!asked.has(queries)) {
        asked.add(queries);
        waiting.push(async () => {
          try {
            told.push({ board, panel, answers: await answersOf(panel, context) });
          } catch (error) {
            problems.push(`${board.uid}, ${(error as Error).message}`);
          }
        });
      }
    }
  }
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      await next();
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return { told, problems };
}

const nameOf = ({ board, panel }: Told, { refId }: Answer) => `${board.uid}, ${panel.title ?? ''}, query ${refId}`;

const skip =
  missing.length > 0 ? `set ${missing.join(', ')}: \`cargo test -p e2e boards\` fills stores and does` : false;

describe('boards on real stores', { skip }, () => {
  const facts = skip ? ({} as Facts) : readFacts();
  const scene = () => between(facts.from, facts.to);
  const inScene =
    (chosen = {}) =>
    (board: Dashboard) =>
      contextOf(board, scene(), { trace_id: [failedTrace(facts)], ...chosen });

  test('every query gives what its panel draws, and no panel is empty', async () => {
    const { told, problems } = await askAll(inScene());
    for (const each of told) {
      for (const answer of each.answers) {
        const isAllowed = EMPTY[each.panel.title ?? ''] !== undefined;
        if (isEmpty(answer.frames) !== isAllowed) {
          problems.push(`${nameOf(each, answer)}: ${isAllowed ? 'it is not empty any more' : 'it is empty'}`);
        }
        problems.push(...wrongShape(each.panel, answer.frames).map((what) => `${nameOf(each, answer)}: ${what}`));
      }
    }
    assert.deepEqual(problems, []);
    assert.ok(told.length > 70, `${told.length} panels`);
  });

  test('an empty range gives no data and no error', async () => {
    const empty = between(facts.from - 3 * DAY, facts.from - 2 * DAY);
    const { told, problems } = await askAll((board) => contextOf(board, empty));
    const ofNow = ['Tables', 'Storage tiers', 'Audit residual'];
    for (const each of told.filter(({ panel }) => !ofNow.includes(panel.title ?? ''))) {
      for (const answer of each.answers.filter(({ frames }) => !isEmpty(frames))) {
        const isNothing = Object.values(figuresOf(answer.frames)).every((value) => value === 0 || value === null);
        const isUnknown = textsIn(answer.frames).every((text) => text.startsWith('Unknown'));
        if (!isNothing || !isUnknown) {
          problems.push(`${nameOf(each, answer)}: ${JSON.stringify(figuresOf(answer.frames))}`);
        }
      }
    }
    assert.deepEqual(problems, []);
  });

  test('a range of a year is answered within ten seconds, and in no more points than can be drawn', async () => {
    // One after the other, so that none waits for another.
    const year = between(facts.to - 365 * DAY, facts.to);
    const { told, problems } = await askAll(
      (board) => contextOf(board, year),
      () => true,
      1,
    );
    for (const each of told) {
      const isTooLong = ({ frames }: Answer) => frames.some(({ length }) => length > MOST_POINTS);
      const bad = each.answers.filter((answer) => answer.took > 10_000 || isTooLong(answer));
      problems.push(...bad.map((answer) => nameOf(each, answer)));
    }
    assert.deepEqual(problems, []);
  });

  /** What panels show that use these variables, with this value in all of them. */
  const withValue = (names: string[], value: string) => {
    const uses = new RegExp(`\\$\\{?(${names.join('|')})\\b`);
    const chosen = Object.fromEntries(names.map((name) => [name, [value]]));
    return askAll(
      (board) => contextOf(board, scene(), chosen),
      (panel) => uses.test(JSON.stringify(panel.targets)),
    );
  };
  const harmless = new Map<string, ReturnType<typeof withValue>>();

  for (const [value, names] of [
    ...HOSTILE.map((value) => [value, [...LISTS, ...WRITTEN]] as const),
    [BACKSLASH, WRITTEN] as const,
  ]) {
    test(`variables set to ${JSON.stringify(value)} break and widen nothing`, async () => {
      const hostile = await withValue([...names], value);
      const key = names.join();
      harmless.set(key, harmless.get(key) ?? withValue([...names], NOBODY));
      const { told } = (await harmless.get(key)) ?? { told: [] };
      assert.deepEqual(hostile.problems, []);
      assert.equal(hostile.told.length, told.length);
      for (const each of hostile.told) {
        const same = told.find(({ board, panel }) => board.uid === each.board.uid && panel.id === each.panel.id);
        for (const [at, answer] of each.answers.entries()) {
          const body = answer.frames[0]?.fields.find(({ name }) => name === 'body')?.values ?? [];
          if (each.panel.title === 'Lines' && body.length > 0) {
            // A text that is searched for may be there; then it is in every line that is shown.
            assert.ok(
              body.every((text) => String(text).toLowerCase().includes(value.toLowerCase())),
              nameOf(each, answer),
            );
          } else {
            assert.deepEqual(
              figuresOf(answer.frames),
              figuresOf(same?.answers[at]?.frames ?? []),
              nameOf(each, answer),
            );
          }
        }
      }
    });
  }

  for (const services of [DERIVED, ['mock-service'], ['menu-api'], CALM]) {
    test(`metrics of ${services.join(' and ')} are what was printed`, async () => {
      const [board] = readBoards().filter(({ uid }) => uid === 'platform-overview');
      assert.ok(board);
      const context = await contextOf(board, scene(), { service: services });
      const numbers = calculate(facts, { services, ...ASSUMED });
      const isDerived = services.every((name) => DERIVED.includes(name));
      const wrong = [];
      for (const { metric, language, text } of questions()) {
        // Hand-written logs are of another time than that at which they are read.
        const isKnown = metric.id !== 'newest_row' || services.includes('mock-service');
        if (isKnown && (isDerived || language === 'sql')) {
          wrong.push(...(await disagreements(metric, language, text, numbers, context)));
        }
      }
      assert.deepEqual(wrong, []);
    });
  }

  test('every metric is calculated', () => {
    const numbers = calculate(facts, { services: DERIVED, ...ASSUMED });
    const left = METRICS.map(({ id }) => id).filter((id) => !(id in numbers));
    assert.deepEqual(left, []);
  });

  test('variables offer what there is', async () => {
    const chosen = async (uid: string, name: string) => {
      const board = readBoards().find((each) => each.uid === uid);
      assert.ok(board);
      const { variables } = await contextOf(board, scene());
      return variables
        .get(name)
        ?.options.map(({ value }) => value)
        .sort();
    };
    const twice = (text: string) => text.replaceAll('\\', '\\\\');
    const restaurants = facts.menu.menu_items.map(({ restaurant }) => twice(restaurant));
    assert.deepEqual(await chosen('platform-overview', 'service'), ['calm-menu', 'menu-api', 'mock-service']);
    assert.deepEqual(await chosen('platform-overview', 'restaurant'), [...new Set([...restaurants, 'unknown'])].sort());
    assert.deepEqual(await chosen('pipeline-and-lag', 'job'), ['edge-forwarder', 'hub-consumer']);
    assert.equal((await chosen('pipeline-and-lag', 'instance'))?.length, 2);
  });

  test('SQL and PromQL differ by no more than they state', async () => {
    const [board] = readBoards().filter(({ uid }) => uid === 'platform-overview');
    assert.ok(board);
    const context = await contextOf(board, scene(), { service: DERIVED });
    const both = METRICS.filter(({ sql, promql }) => sql !== undefined && promql !== undefined);
    assert.ok(both.length >= 7);
    for (const metric of both) {
      assert.ok(metric.difference, `${metric.id} states no difference`);
      const [sql] = (await ask('sql', metric.sql ?? '', context)).values();
      const [promql] = (await ask('promql', metric.promql ?? '', context)).values();
      assert.ok(isWithinDifference(sql, promql, metric), `${metric.id}: SQL ${sql}, PromQL ${promql}`);
    }
  });

  test('money is 0 when nothing failed and everything could be ordered', async () => {
    const [board] = readBoards().filter(({ uid }) => uid === 'business-explorer');
    assert.ok(board);
    const context = await contextOf(board, scene(), { service: CALM });
    for (const id of ['lost_revenue_outage', 'lost_revenue_unavailable']) {
      const answer = await ask('sql', METRICS.find((metric) => metric.id === id)?.sql ?? '', context);
      assert.deepEqual(Object.fromEntries(answer), { estimate: 0, low: 0, high: 0 });
    }
  });

  /** What a panel shows beside what it has to show. */
  async function compared(panel: Panel, board: Dashboard, index: number, services: string[]): Promise<string[]> {
    const expected = EXPECTED[index];
    const chosen: Chosen = { services, ...ASSUMED };
    const context = await contextOf(board, scene(), { service: services });
    const figures = figuresOf((await answersOf(panel, context)).flatMap(({ frames }) => frames));
    return differences(figures, expected?.figures(facts, chosen) ?? {}, expected?.share);
  }

  for (const [index, expected] of EXPECTED.entries()) {
    test(`${expected.board}, ${expected.title} shows what was printed`, async () => {
      const board = readBoards().find(({ uid }) => uid === expected.board);
      const panel = board && panelsOf(board).find((each) => isMeant(each, expected));
      assert.ok(board && panel, 'the panel is there');
      assert.deepEqual(await compared(panel, board, index, DERIVED), []);
    });
  }

  test('annotations mark starts and outages, and the ruler tells of alerts', async () => {
    const [board] = readBoards();
    assert.ok(board);
    const context = await contextOf(board, scene());
    const { annotations, errors } = await runAnnotations(annotationQueries(board), context);
    assert.deepEqual(errors, []);
    const told = annotations.map(({ source, text }) => `${source}: ${text}`).sort();
    assert.deepEqual(
      told.filter((text) => !text.startsWith('Firing')),
      [
        'Outages and incidents: the scene of the boards',
        ...['menu-api', 'menu-api', 'mock-service'].map((name) => `Service starts: start of ${name}`),
      ],
    );
    const [mimir] = sources();
    const rules = await alertRules(mimir as PrometheusSource, { fetch });
    assert.equal(rules.find(({ name }) => name === 'Watchdog')?.state, 'firing');
    assert.deepEqual(
      rules.filter(({ state, error }) => state === 'error' || error),
      [],
    );
  });

  describe('a query that is changed is seen', () => {
    for (const { metric: id, language, what, change } of METRIC_MUTATIONS) {
      test(`${id}, ${language}: ${what}`, async () => {
        const metric = METRICS.find((each) => each.id === id);
        const [board] = readBoards().filter(({ uid }) => uid === 'platform-overview');
        assert.ok(metric?.[language] && board);
        const changed = change(metric[language]);
        assert.notEqual(changed, metric[language], 'the mutation changes the query');
        const services = ['mock-service'];
        const seen = [];
        for (const chosen of [services, DERIVED]) {
          const context = await contextOf(board, scene(), { service: chosen });
          const numbers = calculate(facts, { services: chosen, ...ASSUMED });
          seen.push(...(await disagreements(metric, language, changed, numbers, context)));
        }
        assert.ok(seen.length > 0, `nobody notices: ${changed}`);
      });
    }

    for (const mutation of PANEL_MUTATIONS) {
      test(`${mutation.title}: ${mutation.what}`, async () => {
        const index = EXPECTED.findIndex(({ title }) => title === mutation.title);
        const board = readBoards().find(({ uid }) => uid === EXPECTED[index]?.board);
        const panel = board && panelsOf(board).find(({ title }) => title === mutation.title);
        assert.ok(board && panel, 'the panel is there');
        const seen = await compared(mutatedPanel(panel, mutation), board, index, ['mock-service']);
        assert.notDeepEqual(seen, [], 'nobody notices');
      });
    }
  });
});
