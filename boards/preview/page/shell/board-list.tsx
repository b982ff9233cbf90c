/**
 * The list of boards.
 */
import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import { Card, TagList, useStyles2 } from '@grafana/ui';
import type { BoardSummary } from '../api.ts';
import { Header } from './header.tsx';
import { Problem } from './problem.tsx';

/** Every board with its description. */
export function BoardList({ boards, onToggleTheme }: { boards: BoardSummary[]; onToggleTheme: () => void }) {
  const styles = useStyles2(getStyles);
  return (
    <div data-board-state="ready">
      <Header onToggleTheme={onToggleTheme} />
      {boards.length === 0 && (
        <Problem text="There are no dashboards in the folder that the server reads." severity="warning" />
      )}
      <ul className={styles.list}>
        {boards.map((board) => (
          <li key={board.uid}>
            <Card href={`/d/${board.uid}`} noMargin>
              <Card.Heading>{board.title}</Card.Heading>
              <Card.Description>{board.description}</Card.Description>
              <Card.Tags>
                <TagList tags={board.tags} />
              </Card.Tags>
            </Card>
          </li>
        ))}
      </ul>
    </div>
  );
}

const getStyles = (theme: GrafanaTheme2) => ({
  list: css({
    listStyle: 'none',
    maxWidth: 960,
    margin: '0 auto',
    padding: theme.spacing(2),
    display: 'grid',
    gap: theme.spacing(1),
  }),
});
