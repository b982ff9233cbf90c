/**
 * The row below the header: variables, annotations, links.
 */
import { css } from '@emotion/css';
import type { GrafanaTheme2 } from '@grafana/data';
import {
  Combobox,
  Dropdown,
  Icon,
  InlineSwitch,
  Input,
  Menu,
  MultiCombobox,
  ToolbarButton,
  Tooltip,
  useStyles2,
} from '@grafana/ui';
import { useState } from 'react';
import {
  ALL,
  boardLink,
  interpolateText,
  type AnnotationModel,
  type Dashboard,
  type DashboardLink,
  type QueryContext,
  type Variable,
} from '../../query/index.ts';
import type { BoardSummary } from '../api.ts';

interface Props {
  board: Dashboard;
  boards: BoardSummary[];
  context: QueryContext;
  annotationQueries: AnnotationModel[];
  shown: Record<string, boolean>;
  onAnnotation: (name: string, isShown: boolean) => void;
  onVariable: (name: string, values: string[]) => void;
}

/** The controls of a board; nothing, when it has none. */
export function Controls({ board, boards, context, annotationQueries, shown, onAnnotation, onVariable }: Props) {
  const styles = useStyles2(getStyles);
  const variables = [...context.variables.values()].filter(({ hide, type }) => hide !== 2 && type !== 'constant');
  const toggles = annotationQueries.filter(({ hide }) => !hide);
  const links = board.links ?? [];
  if (variables.length + toggles.length + links.length === 0) {
    return null;
  }
  return (
    <div className={styles.row}>
      {variables.map((variable) => (
        <label key={variable.name} className={styles.control} data-variable={variable.name}>
          {variable.hide !== 1 && <span className={styles.label}>{variable.label}</span>}
          <VariableInput variable={variable} onChange={(values) => onVariable(variable.name, values)} />
        </label>
      ))}
      {toggles.map(({ name }) => (
        <InlineSwitch
          key={name}
          label={name}
          showLabel
          value={shown[name] ?? false}
          onChange={(event) => onAnnotation(name, event.currentTarget.checked)}
        />
      ))}
      <span className={styles.space} />
      {links.map((link) => (
        <BoardLink
          key={`${link.title} ${link.url ?? ''}`}
          link={link}
          own={board.uid}
          boards={boards}
          context={context}
        />
      ))}
    </div>
  );
}

function VariableInput({ variable, onChange }: { variable: Variable; onChange: (values: string[]) => void }) {
  const all = variable.includeAll ? [{ label: 'All', value: ALL }] : [];
  const options = [...all, ...variable.options.map(({ text, value }) => ({ label: text, value }))];
  if (variable.type === 'textbox') {
    return <TextInput value={variable.values[0] ?? ''} onChange={(value) => onChange([value])} />;
  }
  if (variable.multi) {
    return (
      <MultiCombobox
        options={options}
        value={variable.values}
        width="auto"
        minWidth={16}
        maxWidth={60}
        onChange={(chosen) =>
          onChange(
            withoutOldAll(
              variable.values,
              chosen.map(({ value }) => value),
            ),
          )
        }
      />
    );
  }
  return (
    <Combobox
      options={options}
      value={variable.values[0] ?? null}
      width="auto"
      minWidth={12}
      maxWidth={40}
      createCustomValue
      onChange={({ value }) => onChange([value])}
    />
  );
}

/** "All" gives way to what is chosen beside it, and takes over when it is chosen last or nothing is left. */
function withoutOldAll(before: string[], after: string[]): string[] {
  if (after.length === 0 || (after.includes(ALL) && !before.includes(ALL))) {
    return [ALL];
  }
  return after.filter((value) => value !== ALL);
}

function TextInput({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [typed, setTyped] = useState(value);
  return (
    <Input
      width={14}
      value={typed}
      onChange={(event) => setTyped(event.currentTarget.value)}
      onBlur={() => typed !== value && onChange(typed)}
      onKeyDown={(event) => event.key === 'Enter' && onChange(typed)}
    />
  );
}

function BoardLink({
  link,
  own,
  boards,
  context,
}: {
  link: DashboardLink;
  own: string;
  boards: BoardSummary[];
  context: QueryContext;
}) {
  const title = interpolateText(link.title, context);
  const target = link.targetBlank ? '_blank' : undefined;
  if (link.type !== 'dashboards') {
    return (
      <Tooltip content={link.tooltip || title}>
        <a href={boardLink(link, link.url ?? '', context)} target={target} rel="noreferrer" data-testid="board-link">
          <ToolbarButton icon="external-link-alt" variant="canvas">
            {title}
          </ToolbarButton>
        </a>
      </Tooltip>
    );
  }
  const wanted = boards.filter(
    (board) => board.uid !== own && (link.tags ?? []).every((tag) => board.tags.includes(tag)),
  );
  const addressOf = (board: BoardSummary) => boardLink(link, `/d/${board.uid}`, context);
  if (link.asDropdown) {
    const menu = (
      <Menu>
        {wanted.map((board) => (
          <Menu.Item key={board.uid} label={board.title} url={addressOf(board)} target={target} />
        ))}
      </Menu>
    );
    return (
      <Dropdown overlay={menu}>
        <ToolbarButton icon="bars" variant="canvas" isOpen={false}>
          {title}
        </ToolbarButton>
      </Dropdown>
    );
  }
  return (
    <>
      {wanted.map((board) => (
        <a
          key={board.uid}
          href={addressOf(board)}
          target={target}
          rel="noreferrer"
          data-testid="board-link"
          style={{ display: 'inline-flex', gap: 4, alignItems: 'center' }}
        >
          <Icon name="apps" /> {board.title}
        </a>
      ))}
    </>
  );
}

const getStyles = (theme: GrafanaTheme2) => ({
  row: css({
    display: 'flex',
    flexWrap: 'wrap',
    alignItems: 'center',
    gap: theme.spacing(1),
    padding: theme.spacing(1, 2, 0),
  }),
  control: css({ display: 'inline-flex', alignItems: 'stretch', margin: 0 }),
  label: css({
    display: 'flex',
    alignItems: 'center',
    padding: theme.spacing(0, 1),
    fontSize: theme.typography.bodySmall.fontSize,
    fontWeight: theme.typography.fontWeightMedium,
    background: theme.colors.background.primary,
    border: `1px solid ${theme.colors.border.weak}`,
    borderRight: 0,
    borderRadius: `${theme.shape.radius.default} 0 0 ${theme.shape.radius.default}`,
  }),
  space: css({ flexGrow: 1 }),
});
