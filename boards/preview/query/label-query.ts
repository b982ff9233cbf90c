/**
 * The little language of Grafana's Prometheus variables: `label_values(metric{…}, label)` and its relatives.
 */

/** A variable's query, understood. */
export type LabelQuery =
  | { kind: 'label_values'; label: string; match?: string }
  | { kind: 'label_names'; match?: string }
  | { kind: 'metrics'; pattern: string }
  | { kind: 'query_result'; expr: string }
  | { kind: 'series'; match: string };

/** Reads a query with variables already in. Whatever is no function asks for series. */
export function labelQuery(text: string): LabelQuery {
  const query = text.trim();
  const values = /^label_values\((?:(.+),\s*)?([a-zA-Z_]\w*)\s*\)$/s.exec(query);
  if (values) {
    return { kind: 'label_values', label: values[2] ?? '', ...(values[1] ? { match: values[1].trim() } : {}) };
  }
  const names = /^label_names\((.*)\)$/s.exec(query);
  if (names) {
    return { kind: 'label_names', ...(names[1]?.trim() ? { match: names[1].trim() } : {}) };
  }
  const metrics = /^metrics\((.*)\)$/s.exec(query);
  if (metrics) {
    return { kind: 'metrics', pattern: metrics[1]?.trim() ?? '' };
  }
  const result = /^query_result\((.*)\)$/s.exec(query);
  if (result) {
    return { kind: 'query_result', expr: result[1] ?? '' };
  }
  return { kind: 'series', match: query };
}
