/** What a panel's type needs of an answer, and which panels have nothing to show in a run without trouble. */
import type { DataFrame } from '@grafana/data';
import type { Panel } from '../../preview/query/index.ts';

/** Panels that stay empty in the scene, by title, and why. */
export const EMPTY: Record<string, string> = {
  'Time to full': 'it is a time only while the spool grows, and the brokers never went away',
};

/** Fields that the trace view reads, with their types. */
const SPAN: Record<string, string[]> = {
  traceID: ['string'],
  spanID: ['string'],
  parentSpanID: ['string'],
  serviceName: ['string'],
  operationName: ['string'],
  startTime: ['number', 'time'],
  duration: ['number'],
  tags: ['other'],
  serviceTags: ['other'],
  statusCode: ['number'],
};
const LINE: Record<string, string[]> = {
  timestamp: ['time'],
  body: ['string'],
  level: ['string'],
  traceID: ['string'],
};

/** What is wrong with an answer that is not empty; nothing, when the panel can draw it. */
export function wrongShape({ type }: Panel, frames: DataFrame[]): string[] {
  return frames.flatMap((frame) => {
    const kinds = frame.fields.map((field) => field.type as string);
    const has = (kind: string) => kinds.includes(kind);
    switch (type) {
      case 'timeseries':
      case 'state-timeline':
      case 'heatmap':
        return has('time') && has('number') ? [] : [`a series needs time and numbers, not ${kinds.join(', ')}`];
      case 'stat':
      case 'gauge':
        return frame.length === 1 && (has('number') || kinds.join() === 'string')
          ? []
          : [`it has ${frame.length} rows of ${kinds.join(', ')}`];
      case 'bargauge':
      case 'barchart':
        return kinds[0] === 'string' && has('number') ? [] : [`bars need a name and numbers, not ${kinds.join(', ')}`];
      case 'table':
        return kinds.length > 1 ? [] : ['a table of one column'];
      case 'logs':
        return lacking(frame, LINE);
      case 'traces':
        return lacking(frame, SPAN);
      default:
        return [`nobody knows what a panel of type ${type} needs`];
    }
  });
}

function lacking(frame: DataFrame, wanted: Record<string, string[]>): string[] {
  return Object.entries(wanted).flatMap(([name, kinds]) => {
    const kind = frame.fields.find((field) => field.name === name)?.type as string | undefined;
    return kind !== undefined && kinds.includes(kind) ? [] : [`the field ${name} is ${kind ?? 'not there'}`];
  });
}
