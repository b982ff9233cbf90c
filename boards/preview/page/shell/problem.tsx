/**
 * Says that the page itself, not one panel, cannot be shown.
 */
import { Alert } from '@grafana/ui';

/** A message across the page. */
export function Problem({ text, severity = 'error' }: { text: string; severity?: 'error' | 'warning' }) {
  return (
    <div style={{ margin: 16 }} data-testid="problem">
      <Alert title={severity === 'error' ? 'This cannot be shown' : 'Not everything can be shown'} severity={severity}>
        <div style={{ whiteSpace: 'pre-wrap' }}>{text}</div>
      </Alert>
    </div>
  );
}
