/** A scene as a unit test of promtool. */
import { notation, seconds } from './plan.ts';
import type { Alerts, Moment, Saying, Scene, Series } from './types.ts';

/** What an alert of a rule file says besides its labels. */
export type Annotations = Record<string, Record<string, string>>;

/** Fires in every scene, where it is among the rules. */
const WATCHDOG = 'Watchdog';

/** The file, in JSON, which is YAML. `ruleFiles` are absolute; `annotations` are those of the rules. */
export function unitTest(
  scene: Scene,
  ruleFiles: string[],
  groups: string[],
  annotations: Annotations,
  evaluated?: '1m',
): string {
  const { interval } = scene;
  const moments = evaluated === undefined ? scene.moments : (scene.everyMinute ?? []);
  const always: Alerts = WATCHDOG in annotations ? { [WATCHDOG]: 1 } : {};
  return JSON.stringify({
    rule_files: ruleFiles,
    evaluation_interval: evaluated ?? interval,
    // Groups are independent of each other. The first one sees what the others recorded an interval before.
    group_eval_order: groups,
    tests: [
      {
        name: scene.name,
        interval,
        input_series: scene.series.map((series) => ({
          series: selector(series),
          values: notation(series.plan, seconds(interval), seconds(scene.length)),
        })),
        promql_expr_test: [
          ...moments.flatMap((moment) => atMoment(moment, always)),
          ever(scene, moments, always),
          ...(evaluated === undefined ? firstTimes(scene, always) : []),
        ],
        alert_rule_test: evaluated === undefined ? said(scene.says ?? [], annotations) : [],
      },
    ],
  });
}

function selector({ name, labels }: Series): string {
  return `${name}{${Object.entries(labels)
    .map(([label, value]) => `${label}=${JSON.stringify(value)}`)
    .join(',')}}`;
}

function atMoment({ at, firing, pending }: Moment, always: Alerts) {
  const test = (state: string, alerts: Alerts) => ({
    expr: `count by (alertname) (ALERTS{alertstate="${state}"})`,
    eval_time: at,
    exp_samples: samples(alerts),
  });
  return [test('firing', { ...firing, ...always }), ...(pending === undefined ? [] : [test('pending', pending)])];
}

/** Between the moments nothing else has fired, however shortly. */
function ever(scene: Scene, moments: Moment[], always: Alerts) {
  const named = moments.flatMap(({ firing }) => Object.keys(firing));
  const names = [
    ...new Set([...Object.keys(always), ...named, ...(scene.first ?? []).flatMap(({ alerts }) => Object.keys(alerts))]),
  ];
  return {
    expr: `group by (alertname) (last_over_time(ALERTS{alertstate="firing"}[${scene.length}]))`,
    eval_time: scene.length,
    exp_samples: samples(Object.fromEntries(names.map((name) => [name, 1]))),
  };
}

/** The times at which alerts fired first, to the evaluation. */
function firstTimes({ first = [], length, interval }: Scene, always: Alerts) {
  return first.map(({ since, market, alerts }) => {
    const times = Object.entries(alerts).map(([name, after]) => [name, seconds(since) + seconds(after)]);
    const others = Object.keys(always).map((name) => `,alertname!="${name}"`);
    const matchers = [...others, ...(market === undefined ? [] : [`,market="${market}"`])].join('');
    return {
      expr: `min by (alertname) (min_over_time(timestamp(ALERTS{alertstate="firing"${matchers}})[${length}:${interval}]))`,
      eval_time: length,
      exp_samples: samples(Object.fromEntries(times)),
    };
  });
}

const samples = (alerts: Alerts) =>
  Object.entries(alerts).map(([name, count]) => ({ labels: `{alertname="${name}"}`, value: count }));

/** promtool compares all alerts of a name at a time. */
function said(sayings: Saying[], annotations: Annotations) {
  const groups = new Map<string, Saying[]>();
  for (const saying of sayings) {
    const key = `${saying.at} ${saying.alert}`;
    groups.set(key, [...(groups.get(key) ?? []), saying]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    const alerts = group.map(({ alert, labels, summary }) => ({
      exp_labels: labels,
      exp_annotations: { ...annotations[alert], summary },
    }));
    return first === undefined ? [] : [{ alertname: first.alert, eval_time: first.at, exp_alerts: alerts }];
  });
}
