/**
 * The line at the top: where one is, and that this is no Grafana.
 */
import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { Badge, ToolbarButton, useStyles2, useTheme2 } from '@grafana/ui';
import type { ReactNode } from 'react';

interface Props {
  title?: string;
  tags?: string[];
  onToggleTheme: () => void;
  children?: ReactNode;
}

/** The header of every page. */
export function Header({ title, tags = [], onToggleTheme, children }: Props) {
  const styles = useStyles2(getStyles);
  const theme = useTheme2();
  return (
    <header className={styles.header}>
      <a href="/" className={styles.home}>
        Boards
      </a>
      {title && <span className={styles.separator}>›</span>}
      {title && <h1 className={styles.title}>{title}</h1>}
      {tags.map((tag) => (
        <Badge key={tag} text={tag} color="darkgrey" />
      ))}
      <span data-testid="preview-notice">
        <Badge text="Preview drawn with Grafana's components, not Grafana" color="orange" icon="info-circle" />
      </span>
      <span className={styles.space} />
      {children}
      <ToolbarButton variant="canvas" onClick={onToggleTheme} aria-label="theme">
        {theme.isDark ? 'Light' : 'Dark'}
      </ToolbarButton>
    </header>
  );
}

const getStyles = (theme: GrafanaTheme2) => ({
  header: css({
    display: 'flex',
    flexWrap: 'wrap',
    alignItems: 'center',
    gap: theme.spacing(1),
    padding: theme.spacing(1, 2),
    minHeight: 48,
    background: theme.colors.background.primary,
    borderBottom: `1px solid ${theme.colors.border.weak}`,
  }),
  home: css({ color: theme.colors.text.secondary }),
  separator: css({ color: theme.colors.text.disabled }),
  title: css({ fontSize: theme.typography.h5.fontSize, margin: 0, fontWeight: theme.typography.fontWeightMedium }),
  space: css({ flexGrow: 1 }),
});
