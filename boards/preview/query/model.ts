/**
 * The parts of a dashboard's JSON that are read here, and how a dashboard is taken apart.
 *
 * Only what is needed is typed: an unknown key is kept and ignored, as Grafana does.
 */
import type { DataFrame, DataTransformerConfig, FieldConfigSource, ValueMapping } from '@grafana/data';

/** Names a data source: by `uid` (which may hold a variable) and by the plugin's `type`. */
export interface DataSourceRef {
  type?: string;
  uid?: string;
}

/** One query of a panel. The keys beside these belong to the data source's plugin. */
export interface Target {
  refId: string;
  datasource?: DataSourceRef | null;
  hide?: boolean;
  [key: string]: unknown;
}

/** A link of a panel or of a dashboard. */
export interface DashboardLink {
  title: string;
  type?: 'link' | 'dashboards';
  url?: string;
  tags?: string[];
  icon?: string;
  tooltip?: string;
  asDropdown?: boolean;
  targetBlank?: boolean;
  includeVars?: boolean;
  keepTime?: boolean;
}

/** One panel, or one row with the panels that it hides while collapsed. */
export interface Panel {
  id: number;
  type: string;
  title?: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: DataSourceRef | null;
  targets?: Target[];
  fieldConfig?: FieldConfigSource;
  options?: Record<string, unknown>;
  transformations?: DataTransformerConfig[];
  links?: DashboardLink[];
  transparent?: boolean;
  collapsed?: boolean;
  panels?: Panel[];
  interval?: string;
  maxDataPoints?: number;
  timeFrom?: string;
  /** Whether the panel does not say that its range is its own. */
  hideTimeOverride?: boolean;
  timeShift?: string;
  repeat?: string;
  mappings?: ValueMapping[];
}

/** A variable as the JSON has it. `query` differs by type and data source. */
export interface VariableModel {
  name: string;
  type: string;
  label?: string | null;
  description?: string | null;
  hide?: number | string;
  query?: unknown;
  definition?: string;
  datasource?: DataSourceRef | null;
  current?: { value?: unknown; text?: unknown };
  options?: Array<{ text?: unknown; value?: unknown; selected?: boolean }>;
  multi?: boolean;
  includeAll?: boolean;
  allValue?: string | null;
  regex?: string;
  sort?: number;
  refresh?: number;
  auto?: boolean;
  auto_count?: number;
  auto_min?: string;
  [key: string]: unknown;
}

/** A query whose rows are drawn as marks over time. */
export interface AnnotationModel {
  name: string;
  enable?: boolean;
  hide?: boolean;
  iconColor?: string;
  builtIn?: number | boolean;
  type?: string;
  datasource?: DataSourceRef | null;
  target?: Target;
  filter?: { exclude?: boolean; ids?: number[] };
  mappings?: Record<string, { source?: string; value?: string }>;
  [key: string]: unknown;
}

/** A dashboard. */
export interface Dashboard {
  uid: string;
  title: string;
  description?: string;
  tags?: string[];
  timezone?: string;
  refresh?: string;
  graphTooltip?: number;
  time?: { from: string; to: string };
  links?: DashboardLink[];
  panels: Panel[];
  templating?: { list?: VariableModel[] };
  annotations?: { list?: AnnotationModel[] };
}

/** A heading and what stands below it; the first section may have no row. */
export interface Section {
  row?: Panel;
  panels: Panel[];
}

/** Frames of one panel: what is drawn, and what is drawn over it. */
export interface PanelFrames {
  series: DataFrame[];
  exemplars: DataFrame[];
}

/**
 * Reads a dashboard from its JSON, given as text or as an object.
 *
 * @throws Error that names what is missing: a uid, a title, or a panel's position.
 */
export function loadDashboard(json: string | object): Dashboard {
  const raw: unknown = typeof json === 'string' ? JSON.parse(json) : json;
  if (typeof raw !== 'object' || raw === null) {
    throw new Error('a dashboard is a JSON object');
  }
  const board = raw as Dashboard;
  if (!board.uid || !board.title) {
    throw new Error('a dashboard needs `uid` and `title`');
  }
  if (!Array.isArray(board.panels)) {
    throw new Error(`dashboard ${board.uid} has no \`panels\``);
  }
  for (const panel of allPanels(board)) {
    if (!panel.gridPos) {
      throw new Error(`dashboard ${board.uid}: panel ${panel.id} (${panel.title ?? panel.type}) has no \`gridPos\``);
    }
  }
  return board;
}

/** Every panel that shows something, those of collapsed rows too, in the order of the JSON. Rows are left out. */
export function panelsOf(board: Dashboard): Panel[] {
  return allPanels(board).filter((panel) => panel.type !== 'row');
}

/** The panels by row. A panel belongs to the row above it, whether the row is collapsed or not. */
export function sectionsOf(board: Dashboard): Section[] {
  const sections: Section[] = [{ panels: [] }];
  const ordered = [...board.panels].sort((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x);
  for (const panel of ordered) {
    if (panel.type === 'row') {
      sections.push({ row: panel, panels: [...(panel.panels ?? [])] });
    } else {
      sections[sections.length - 1]?.panels.push(panel);
    }
  }
  return sections.filter((section) => section.row !== undefined || section.panels.length > 0);
}

/** The targets that Grafana would run: neither hidden nor without a reference. */
export function targetsOf(panel: Panel): Target[] {
  return (panel.targets ?? [])
    .filter((target) => !target.hide)
    .map((target, index) => ({ ...target, refId: target.refId || String.fromCharCode(65 + index) }));
}

function allPanels(board: Dashboard): Panel[] {
  return board.panels.flatMap((panel) => (panel.type === 'row' ? [panel, ...(panel.panels ?? [])] : [panel]));
}
