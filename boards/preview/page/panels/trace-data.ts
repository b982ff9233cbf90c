/**
 * The spans of one trace, in the columns of the ClickHouse plugin's trace format.
 */
import type { DataFrame, Field } from '@grafana/data';

/** A span in its place in the tree. */
export interface Span {
  id: string;
  parent: string;
  service: string;
  operation: string;
  /** Epoch milliseconds. */
  start: number;
  /** Milliseconds. */
  duration: number;
  tags: Array<{ key: string; value: string }>;
  isError: boolean;
  /** Distance from the root. */
  depth: number;
  hasChildren: boolean;
}

/** A trace as it is drawn. */
export interface Trace {
  id: string;
  spans: Span[];
  start: number;
  duration: number;
  services: string[];
}

/** Builds the tree. A span whose parent is missing stands at the root, so that a broken trace is shown in full. */
export function traceOf(frames: DataFrame[]): Trace | undefined {
  const frame = frames.find((each) => each.fields.some((field) => field.name.toLowerCase() === 'spanid'));
  if (!frame || frame.length === 0) {
    return undefined;
  }
  const column = (name: string) => frame.fields.find((field) => field.name.toLowerCase() === name.toLowerCase());
  const flat = Array.from({ length: frame.length }, (_, row) => spanAt(column, row));
  const ids = new Set(flat.map((span) => span.id));
  const children = new Map<string, Span[]>();
  for (const span of flat) {
    const parent = ids.has(span.parent) && span.parent !== span.id ? span.parent : '';
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const spans: Span[] = [];
  const visit = (parent: string, depth: number) => {
    for (const span of (children.get(parent) ?? []).sort((a, b) => a.start - b.start)) {
      const hasChildren = children.has(span.id);
      spans.push({ ...span, depth, hasChildren });
      visit(span.id, depth + 1);
    }
  };
  visit('', 0);
  const start = Math.min(...flat.map((span) => span.start));
  const end = Math.max(...flat.map((span) => span.start + span.duration));
  return {
    id: String(column('traceID')?.values[0] ?? ''),
    spans,
    start,
    duration: end - start,
    services: [...new Set(spans.map((span) => span.service))],
  };
}

function spanAt(column: (name: string) => Field | undefined, row: number): Span {
  const text = (name: string) => String(column(name)?.values[row] ?? '');
  const tags = [...tagsOf(column('tags')?.values[row]), ...tagsOf(column('serviceTags')?.values[row])];
  const status =
    text('statusCode') ||
    (tags.find((tag) => tag.key === 'otel.status_code' || tag.key === 'status.code')?.value ?? '');
  const nanos = column('startTime')?.nanos?.[row] ?? 0;
  return {
    id: text('spanID'),
    parent: text('parentSpanID'),
    service: text('serviceName'),
    operation: text('operationName'),
    start: Number(column('startTime')?.values[row] ?? 0) + nanos / 1e6,
    duration: Number(column('duration')?.values[row] ?? 0),
    tags: [
      ...(status
        ? [{ key: 'status', value: text('statusMessage') ? `${status}: ${text('statusMessage')}` : status }]
        : []),
      ...tags,
    ],
    isError: /error|^2$/i.test(status) || tags.some((tag) => tag.key === 'error' && tag.value === 'true'),
    depth: 0,
    hasChildren: false,
  };
}

/** Tags come as a list of (key, value), as pairs, or as a map. */
function tagsOf(value: unknown): Array<{ key: string; value: string }> {
  if (Array.isArray(value)) {
    return value.map((each: unknown) => {
      const pair = Array.isArray(each)
        ? { key: each[0] as unknown, value: each[1] as unknown }
        : (each as { key: unknown; value: unknown });
      return { key: String(pair.key), value: String(pair.value) };
    });
  }
  return typeof value === 'object' && value !== null
    ? Object.entries(value).map(([key, each]) => ({ key, value: String(each) }))
    : [];
}
