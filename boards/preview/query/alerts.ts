/**
 * Asks Mimir's ruler which alerts are pending or firing, for the panel that lists them.
 */
import type { Http } from './http.ts';
import { ask, type PrometheusSource } from './prometheus.ts';

/** The state of a rule, worst of its instances first. */
export type AlertState = 'firing' | 'pending' | 'inactive' | 'error';

/** One rule with its instances. */
export interface AlertRule {
  name: string;
  group: string;
  state: AlertState;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  /** Epoch milliseconds at which the oldest instance became active. */
  since?: number;
  error?: string;
  instances: Array<{
    state: AlertState;
    labels: Record<string, string>;
    annotations: Record<string, string>;
    since: number;
    value: string;
  }>;
}

interface RulesAnswer {
  groups: Array<{ name: string; rules: RuleAnswer[] }>;
}

interface RuleAnswer {
  type: string;
  name: string;
  state?: string;
  health?: string;
  lastError?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  alerts?: Array<{
    state: string;
    labels: Record<string, string>;
    annotations?: Record<string, string>;
    activeAt: string;
    value: string;
  }>;
}

const ORDER: AlertState[] = ['firing', 'error', 'pending', 'inactive'];

/** Every alerting rule, firing first, then by name. Recording rules are left out. */
export async function alertRules(source: PrometheusSource, http: Http): Promise<AlertRule[]> {
  const answer = await ask<RulesAnswer>(source, 'rules', http, { type: 'alert' });
  const rules = answer.groups.flatMap((group) =>
    group.rules.filter((rule) => rule.type === 'alerting').map((rule) => toRule(rule, group.name)),
  );
  return rules.sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || (a.name < b.name ? -1 : 1));
}

function toRule(rule: RuleAnswer, group: string): AlertRule {
  const instances = (rule.alerts ?? []).map((alert) => ({
    state: alert.state as AlertState,
    labels: alert.labels,
    annotations: alert.annotations ?? {},
    since: Date.parse(alert.activeAt),
    value: alert.value,
  }));
  const starts = instances.map((instance) => instance.since);
  return {
    name: rule.name,
    group,
    state: rule.health === 'err' ? 'error' : ((rule.state ?? 'inactive') as AlertState),
    labels: rule.labels ?? {},
    annotations: rule.annotations ?? {},
    ...(starts.length > 0 ? { since: Math.min(...starts) } : {}),
    ...(rule.lastError ? { error: rule.lastError } : {}),
    instances,
  };
}
