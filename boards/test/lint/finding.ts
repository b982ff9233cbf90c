/** What a rule of the lint says, and of what. */
import type { Dashboard, Panel, Target } from '../../preview/query/index.ts';

/** A dashboard as its JSON has it: the preview's model leaves out what it does not draw. */
export type Board = Dashboard & Record<string, unknown>;

/** Something that a rule does not allow. */
export interface Finding {
  rule: string;
  /** Uid of the board. */
  board: string;
  /** What the finding is about: a panel's title, the name of a variable or of an annotation, or `board`. */
  subject: string;
  /** What is wrong, with the text that it is about. */
  text: string;
}

/** Says a finding; what it is about is a panel, or has a name. */
export type Report = (subject: Panel | string, text: string) => void;

/** One rule. It looks at one board and may look at all of them. */
export type Rule = (board: Board, report: Report, boards: Board[]) => void;

/** A query of a board with what it belongs to. */
export interface Query {
  subject: Panel | string;
  target: Target;
}

/** Panels and rows, those within collapsed rows too. */
export function everyPanel(board: Board): Panel[] {
  return board.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]);
}

/** Panels that show something. */
export function shownPanels(board: Board): Panel[] {
  return everyPanel(board).filter(({ type }) => type !== 'row');
}

/** Every query of a board: of panels, and of annotations. */
export function everyQuery(board: Board): Query[] {
  const ofPanels = shownPanels(board).flatMap((panel) =>
    (panel.targets ?? []).map((target) => ({ subject: panel, target })),
  );
  const ofAnnotations = (board.annotations?.list ?? []).flatMap(({ name, target }) =>
    target ? [{ subject: `annotation ${name}`, target }] : [],
  );
  return [...ofPanels, ...ofAnnotations];
}

/** The SQL of a target, if it has any. */
export const sqlOf = ({ rawSql }: Target): string | undefined => (typeof rawSql === 'string' ? rawSql : undefined);

/** The PromQL of a target, if it has any. */
export const promqlOf = ({ expr }: Target): string | undefined => (typeof expr === 'string' ? expr : undefined);

/** Every text within a value, however deep. */
export function textsOf(value: unknown): string[] {
  if (typeof value === 'string') {
    return [value];
  }
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsOf) : [];
}
