/** Names of the metrics that PromQL asks for, read with the parser that Prometheus' own editor uses. */
import type { SyntaxNode } from '@lezer/common';
import { parser } from '@prometheus-io/lezer-promql';

/** Each name as often as it is asked for; a matcher of `__name__` is taken for the names between its bars. */
export function metricsOf(query: string): string[] {
  // What Grafana fills in is a duration, or a number.
  const text = query.replace(/\$__range_s\b/g, '1').replace(/\$__\w+/g, '5m');
  const names: string[] = [];
  parser.parse(text).iterate({
    enter: ({ node }) => {
      if (node.type.isError) {
        throw new Error(`no PromQL at ${node.from}: ${text}`);
      }
      if (node.name === 'VectorSelector') {
        names.push(...namesOf(node, text));
      }
    },
  });
  return names;
}

function namesOf(selector: SyntaxNode, text: string): string[] {
  const name = selector.getChild('Identifier');
  if (name) {
    return [text.slice(name.from, name.to)];
  }
  const written = text.slice(selector.from, selector.to);
  const matched = /__name__=~?"([\w|:]+)"/.exec(written)?.[1];
  if (matched === undefined) {
    throw new Error(`no metric is named by ${written}`);
  }
  return matched.split('|');
}
