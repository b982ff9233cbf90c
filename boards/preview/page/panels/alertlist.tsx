/**
 * The list of alerts, asked of Mimir's ruler.
 */
import { css } from '@emotion/css';
import { dateTimeFormatTimeAgo, textUtil, type GrafanaTheme2 } from '@grafana/data';
import { Icon, Tooltip, useStyles2 } from '@grafana/ui';
import { useEffect, useState } from 'react';
import {
  alertRules,
  interpolateText,
  sourceOf,
  type AlertRule,
  type AlertState,
  type PrometheusSource,
} from '../../query/index.ts';
import type { PanelProps } from './panel.ts';

interface Options {
  maxItems?: number;
  alertName?: string;
  alertInstanceLabelFilter?: string;
  datasource?: string;
  viewMode?: 'list' | 'stat';
  stateFilter?: { firing?: boolean; pending?: boolean; normal?: boolean; inactive?: boolean; error?: boolean };
}

/** How the panel's own question went, for whoever waits until all panels are drawn. */
export interface AlertListProps extends PanelProps {
  onSettled: (error?: Error) => void;
}

/** The alert list panel. Without any alert it says so, which is not the same as an error. */
export function AlertListPanel({ panel, context, width, height, onSettled }: AlertListProps) {
  const options = (panel.options ?? {}) as Options;
  const [rules, setRules] = useState<AlertRule[] | null>(null);
  const styles = useStyles2(getStyles);
  useEffect(() => {
    const source = prometheusOf(panel.datasource ?? {}, options.datasource, context);
    alertRules(source, context.http)
      .then((found) => {
        setRules(found);
        onSettled();
      })
      .catch((error: Error) => {
        if (!context.http.signal?.aborted) {
          setRules([]);
          onSettled(error);
        }
      });
  }, [context]);
  const shown = (rules ?? []).filter((rule) => isWanted(rule, options, context)).slice(0, options.maxItems ?? 20);
  if (rules === null) {
    return null;
  }
  if (options.viewMode === 'stat') {
    return <div className={styles.count}>{shown.length}</div>;
  }
  return (
    <div className={styles.list} style={{ width, height }}>
      {shown.length === 0 && <div className={styles.none}>No alerts</div>}
      {shown.map((rule) => (
        <Alert key={`${rule.group} ${rule.name}`} rule={rule} />
      ))}
    </div>
  );
}

function Alert({ rule }: { rule: AlertRule }) {
  const styles = useStyles2(getStyles);
  const summary = rule.instances[0]?.annotations['summary'] ?? rule.annotations['summary'] ?? '';
  // Within the project a runbook is named by its path from the root.
  const runbook = rule.annotations['runbook_url']?.replace(/^docs\//, '/docs/');
  return (
    <div className={styles.alert} data-testid="alert">
      <Icon name={ICONS[rule.state]} className={styles[rule.state]} size="lg" />
      <div>
        <div>
          <strong>{rule.name}</strong> <span className={styles.dim}>{rule.labels['severity']}</span>
        </div>
        <div className={styles.dim}>
          <span className={styles[rule.state]}>{rule.state}</span>
          {rule.since !== undefined && ` for ${dateTimeFormatTimeAgo(rule.since).replace(' ago', '')}`}
          {rule.instances.length > 1 && ` · ${rule.instances.length} instances`}
          {runbook && (
            <>
              {' · '}
              <a className="external-link" href={textUtil.sanitizeUrl(runbook)}>
                runbook
              </a>
            </>
          )}
        </div>
        {(summary || rule.error) && (
          <Tooltip content={rule.annotations['description'] ?? summary}>
            <div>{rule.error ?? summary}</div>
          </Tooltip>
        )}
      </div>
    </div>
  );
}

const ICONS: Record<AlertState, 'fire' | 'hourglass' | 'check-circle' | 'exclamation-triangle'> = {
  firing: 'fire',
  pending: 'hourglass',
  inactive: 'check-circle',
  error: 'exclamation-triangle',
};

function isWanted(rule: AlertRule, options: Options, context: PanelProps['context']): boolean {
  const states = options.stateFilter ?? { firing: true, pending: true };
  const byState: Record<AlertState, boolean | undefined> = {
    firing: states.firing,
    pending: states.pending,
    inactive: states.normal ?? states.inactive,
    error: states.error,
  };
  const name = interpolateText(options.alertName ?? '', context);
  return (
    Boolean(byState[rule.state]) &&
    (name === '' || rule.name.toLowerCase().includes(name.toLowerCase())) &&
    hasLabels(rule, interpolateText(options.alertInstanceLabelFilter ?? '', context))
  );
}

/** Whether the rule, or one of its instances, has the labels that `{a="b",c=~"d|e"}` asks for. */
function hasLabels(rule: AlertRule, filter: string): boolean {
  const matchers = [...filter.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)];
  const sets = [rule.labels, ...rule.instances.map((instance) => instance.labels)];
  return sets.some((labels) =>
    matchers.every(([, name = '', operator, value = '']) => {
      const actual = labels[name] ?? '';
      const isEqual =
        operator === '=' || operator === '!=' ? actual === value : new RegExp(`^(?:${value})$`).test(actual);
      return operator?.startsWith('!') ? !isEqual : isEqual;
    }),
  );
}

/** The panel's data source; options may name one; else the first Prometheus. */
function prometheusOf(
  ref: { uid?: string; type?: string },
  name: string | undefined,
  context: PanelProps['context'],
): PrometheusSource {
  const wanted =
    ref.type === 'prometheus' ? ref : { type: 'prometheus', uid: name && name !== 'grafana' ? name : undefined };
  return sourceOf(wanted, context) as PrometheusSource;
}

const getStyles = (theme: GrafanaTheme2) => ({
  list: css({ overflow: 'auto' }),
  none: css({
    display: 'flex',
    height: '100%',
    alignItems: 'center',
    justifyContent: 'center',
    color: theme.colors.text.secondary,
  }),
  count: css({ fontSize: 48, textAlign: 'center' }),
  alert: css({
    display: 'flex',
    gap: theme.spacing(1),
    padding: theme.spacing(0.75, 0),
    borderBottom: `1px solid ${theme.colors.border.weak}`,
  }),
  dim: css({ color: theme.colors.text.secondary, fontSize: theme.typography.bodySmall.fontSize }),
  firing: css({ color: theme.colors.error.text }),
  pending: css({ color: theme.colors.warning.text }),
  inactive: css({ color: theme.colors.success.text }),
  error: css({ color: theme.colors.error.text }),
});
