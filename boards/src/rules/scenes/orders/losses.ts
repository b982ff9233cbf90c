/** Each fault of the order flow at three loss rates, and when who is paged. */
import { FAULTS, flows, type Fault } from './flow.ts';
import type { Scene } from '../types.ts';

/** Long enough before the loss for the fast pair of windows. */
const ONSET = '1h';
const PER_SECOND = 20;

export interface Detection {
  fault: Fault;
  /** Share of orders that are lost. */
  share: number;
  /** When each alert fires first, after the onset. */
  first: Record<string, string>;
}

const TOTAL = {
  OrderFlowSevered: '180s',
  OrderCanaryMissing: '190s',
  OrderUnconfirmedTooLong: '240s',
  OrderConfirmationBurnFast: '250s',
  OrderConfirmationBurnSlow: '460s',
};
const TWENTIETH = { OrderUnconfirmedTooLong: '240s' };
const HUNDREDTH = { OrderUnconfirmedTooLong: '250s' };

/** Alerts on the outcome fire for every fault alike, and those on causes tell faults apart. */
const CAUSES: Record<
  Fault,
  [total: Record<string, string>, twentieth: Record<string, string>, hundredth: Record<string, string>]
> = {
  'ack-before-store': [
    { OrderConsumerLedger: '310s' },
    { OrderConsumerLedger: '310s' },
    { OrderConsumerLedger: '330s' },
  ],
  'publish-to-nowhere': [
    { OrderUnroutable: '10s', OrderPublishGap: '310s' },
    { OrderUnroutable: '10s', OrderPublishGap: '370s' },
    { OrderUnroutable: '10s', OrderPublishGap: '620s' },
  ],
  'foreign-reader': [{ OrderForeignReader: '10s' }, { OrderForeignReader: '10s' }, { OrderForeignReader: '10s' }],
  'lost-before-broker': [{ OrderPublishGap: '310s' }, { OrderPublishGap: '370s' }, { OrderPublishGap: '620s' }],
  'dedup-poisoned': [{ OrdersSkipped: '310s' }, { OrdersSkipped: '370s' }, { OrdersSkipped: '630s' }],
};

/** What INCIDENT.md says of detection, and what promtool plays. */
export const DETECTIONS: Detection[] = FAULTS.flatMap((fault) => {
  const [total, twentieth, hundredth] = CAUSES[fault];
  return [
    { fault, share: 1, first: { ...TOTAL, ...total } },
    { fault, share: 0.05, first: { ...TWENTIETH, ...twentieth } },
    { fault, share: 0.01, first: { ...HUNDREDTH, ...hundredth } },
  ];
});

const marketOf = ({ fault, share }: Detection) => `${fault}-${share * 100}`;

/** All of them in one scene, each in a market of its own: what one market pages says nothing of the others. */
export const LOSS_SCENE: Scene = {
  name: 'five faults at three loss rates, and a market without any',
  description: `At ${PER_SECOND} orders a second in each market, while answers, CPU and pending messages stay as they were.`,
  length: '1h12m',
  interval: '10s',
  series: flows([
    { market: 'healthy', perSecond: PER_SECOND },
    ...DETECTIONS.map((detection) => ({
      market: marketOf(detection),
      perSecond: PER_SECOND,
      loss: { fault: detection.fault, share: detection.share, from: ONSET },
    })),
  ]),
  moments: [{ at: ONSET, firing: {}, pending: {} }],
  first: [
    { since: ONSET, market: 'healthy', alerts: {} },
    ...DETECTIONS.map((detection) => ({ since: ONSET, market: marketOf(detection), alerts: detection.first })),
  ],
};
