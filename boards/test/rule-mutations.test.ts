/** The scenes can see: a rule that is broken on purpose makes one of them fail. */
import { describe, test } from 'node:test';

import { SCENES } from '../src/rules/scenes/index.ts';
import { seeMutation, type Mutation } from './mutate.ts';
import { EVERYWHERE, ruleFiles } from './promtool.ts';

const STUCK = 'one partition is stuck';
const NO_EDGE = 'no edge lives';
const NO_HISTORY = 'ten percent of lists fail from the start';

const MUTATIONS: Mutation[] = [
  {
    what: 'every list counts as failed',
    rule: 'menu:availability_burn:rate1h',
    change: { expression: [',status_class="5xx"', ''] },
    scene: NO_HISTORY,
    seen: '10m',
  },
  {
    what: 'a label that does not exist',
    rule: 'menu:availability_burn:rate5m',
    change: { expression: ['status_class="5xx"', 'class="5xx"'] },
    scene: NO_HISTORY,
    seen: '2m20s',
  },
  {
    what: 'one evaluation is enough for a page',
    rule: 'MenuAvailabilityBurnFast',
    change: { for: undefined },
    scene: NO_HISTORY,
    seen: '2m',
  },
  {
    what: 'one slow answer is enough',
    rule: 'MenuLatencyBurnFast',
    change: { expression: ['>= 3', '>= 1'] },
    scene: 'a quieter night with a request in ten minutes',
    seen: '2h3m',
  },
  {
    what: 'another bound of the histogram',
    rule: 'menu:latency_burn:rate5m',
    change: { expression: ['le="0.1"', 'le="0.25"'] },
    scene: 'answers are slow from the start',
    seen: '3m',
  },
  {
    what: 'traffic is trusted while edges are silent',
    rule: 'MenuTrafficGone',
    change: { expression: [' unless on () pipeline:in_doubt', ''] },
    scene: NO_EDGE,
    seen: '1h30m',
  },
  {
    what: 'the page ends when the half hour before is over',
    rule: 'MenuTrafficGone',
    change: { expression: ['alertstate="firing"', 'alertstate="resolved"'] },
    scene: 'the service is gone',
    seen: '2h',
  },
  {
    what: 'another status',
    rule: 'MenuUnknownIds',
    change: { expression: ['status="404"', 'status="400"'] },
    scene: 'ids that do not exist',
    seen: '1h15m',
  },
  {
    what: 'a rollout is a crash',
    rule: 'MenuServiceRestarts',
    change: { expression: ['>= 5', '>= 3'] },
    scene: 'the service restarts',
    seen: '1h20m',
  },
  {
    what: 'a stack trace is a changed format',
    rule: 'MenuLogUnreadable',
    change: { for: '5m' },
    scene: 'lines that cannot be read',
    seen: '1h30m',
  },
  {
    what: 'ten minutes are not late',
    rule: 'DataLate',
    change: { expression: ['> 60', '> 3600'] },
    scene: STUCK,
    seen: '47m',
  },
  {
    what: 'partitions beside it hide one that never drains',
    rule: 'LagNotDraining',
    change: { expression: ['max by (topic, partition)', 'max by (topic)'] },
    scene: STUCK,
    seen: '1h8m',
  },
  {
    what: 'any hub that has it not',
    rule: 'PartitionOrphaned',
    change: { expression: ['hub_lag_orphaned', 'hub_lag_stuck'] },
    scene: 'nobody has a partition',
    seen: '44m',
  },
  {
    what: 'a log that retention has not touched',
    rule: 'HeadRoomLow',
    change: { expression: ['hub_log_start_offset) > 0', 'hub_log_start_offset) >= 0'] },
    scene: 'a young log is far behind',
    seen: '47m',
  },
  {
    what: 'a blink of a broker',
    rule: 'BrokerUnreachable',
    change: { for: undefined },
    scene: 'a broker outage of twenty seconds',
    seen: '10m20s',
  },
  {
    what: 'the quota is taken to stand still',
    rule: 'SpoolFullSoon',
    change: {
      expression: [
        '-deriv(edge:spool_room_bytes[10m])',
        'sum by (instance, signal) (deriv(edge_spool_disk_bytes[10m]))',
      ],
    },
    scene: 'three spools share what is left',
    seen: '52m',
  },
  {
    what: 'a first sample is no loss',
    rule: 'DataLost',
    change: { expression: [' or last_over_time(edge_spool_corrupt_items_total[15m])', ''] },
    scene: 'data is lost in four ways',
    seen: '1h31m',
  },
  {
    what: 'a verdict is forgotten after five minutes',
    rule: 'AuditResidual',
    change: { expression: ['[26h]', '[5m]'] },
    scene: 'an audit finds missing records',
    seen: '2h11m',
  },
  {
    what: 'a backlog that is stored before the first sample is missing',
    rule: 'hub:items_settled:increase30m',
    change: {
      expression: [
        'last_over_time(hub_items_stored_total[30m]) unless',
        'last_over_time(hub_items_gone_total[30m]) unless',
      ],
    },
    scene: 'the only hub is killed and its successor stores the backlog',
    seen: '1h',
  },
  {
    what: 'killed edges are taken for working ones',
    rule: 'CompletenessLow',
    change: { expression: [' and sum by (signal) (increase(edge_publisher_acked_items_total[10m])) > 0', ''] },
    scene: NO_EDGE,
    seen: '1h30m',
  },
  {
    what: 'any retry is a failing store',
    rule: 'SinkFailing',
    change: { expression: ['> 0.1 * sum', '> 0 * sum'] },
    scene: 'a store hiccups',
    seen: '30m',
  },
  {
    what: 'a hub without menu lines is late',
    rule: 'DerivedSeriesStale',
    change: { expression: ['_seconds) > 0)', '_seconds) >= 0)'] },
    scene: 'a push hangs',
    seen: '47m',
  },
  {
    what: 'killed processes live for five minutes more',
    rule: 'HubsSilent',
    change: { expression: ['[2m]', '[5m]'] },
    scene: 'no hub lives',
    seen: '20m10s',
  },
];

describe('mutations', { concurrency: 2 }, () => {
  for (const mutation of MUTATIONS) {
    test(`${mutation.rule}: ${mutation.what}`, () => seeMutation(mutation, SCENES, ruleFiles(EVERYWHERE)));
  }
});
