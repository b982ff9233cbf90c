/** Rules about a board as a whole: names, identity, and the grid. */
import type { Panel } from '../../preview/query/index.ts';
import { everyPanel, type Board, type Rule } from './finding.ts';

/** The version of the model that the pinned Foundation SDK writes. */
const SCHEMA_VERSION = 42;
const COLUMNS = 24;
/** Every board has the first tag, by which boards link to each other, and one of the others. */
const TAG = 'eventline';
const KINDS = ['overview', 'detail', 'pipeline'];
/** Parts of the unified board's headings: each audience has a row, and so has the question whether to believe it. */
const AUDIENCES = ['Customer experience', 'Business', 'Technical', 'Pipeline'];
const UNIFIED = 'platform-overview';

export const STRUCTURE: Record<string, Rule> = {
  'board-uid': (board, report, boards) => {
    if (!/^[a-z][a-z0-9-]{1,39}$/.test(board.uid)) {
      report('board', `the uid "${board.uid}" is no plain word`);
    }
    if (boards.filter(({ uid }) => uid === board.uid).length > 1) {
      report('board', `another board has the uid "${board.uid}" too`);
    }
  },
  'panel-id': (board, report) => {
    const seen = new Set<number>();
    for (const panel of everyPanel(board)) {
      if (!Number.isInteger(panel.id) || panel.id < 1 || seen.has(panel.id)) {
        report(panel, `the id ${panel.id} is missing or taken`);
      }
      seen.add(panel.id);
    }
  },
  'no-internal-id': (board, report) => {
    for (const key of ['id', 'version', 'iteration'].filter((name) => board[name] !== undefined)) {
      report('board', `"${key}" belongs to one Grafana's database`);
    }
  },
  'not-editable': (board, report) => {
    if (board['editable'] !== false) {
      report('board', 'what is edited in the page is lost with the next release');
    }
  },
  'schema-version': (board, report) => {
    if (board['schemaVersion'] !== SCHEMA_VERSION) {
      report('board', `schemaVersion is ${String(board['schemaVersion'])}, not ${SCHEMA_VERSION}`);
    }
  },
  tags: (board, report) => {
    const tags = board.tags ?? [];
    if (!tags.includes(TAG) || !KINDS.some((kind) => tags.includes(kind))) {
      report('board', `tags are ${tags.join(', ')}: "${TAG}" and one of ${KINDS.join(', ')} are needed`);
    }
  },
  defaults: (board, report) => {
    const { time, refresh, graphTooltip } = board;
    if (time?.from !== 'now-6h' || time.to !== 'now' || refresh !== '30s' || graphTooltip !== 1) {
      report('board', 'it opens with the last 6 hours, a refresh of 30s and a shared crosshair');
    }
  },
  audiences: (board, report) => {
    const headings = everyPanel(board).filter(({ type }) => type === 'row');
    for (const audience of board.uid === UNIFIED ? AUDIENCES : []) {
      if (!headings.some(({ title }) => title?.startsWith(`${audience}:`))) {
        report('board', `no row is for "${audience}"`);
      }
    }
  },
  'grid-overlap': (board, report) => {
    for (const { panel, times } of covered(board)) {
      if (times > 1) {
        report(panel, 'it lies over another panel, or beyond the grid');
      }
    }
  },
  'grid-hole': (board, report) => {
    for (const group of groups(board)) {
      const cells = cellsOf(group.panels);
      const end = Math.max(group.top, ...group.panels.map(({ gridPos: { y, h } }) => y + h));
      for (let y = group.top; y < end; y += 1) {
        const empty = Array.from({ length: COLUMNS }, (_, x) => x).filter((x) => !cells.has(`${x},${y}`));
        if (empty.length > 0) {
          report('board', `line ${y} of the grid is empty from column ${empty[0] ?? 0} on`);
          return;
        }
      }
    }
  },
};

/** Panels that share a grid: those of the board, and those of each collapsed row. */
function groups(board: Board): { top: number; panels: Panel[] }[] {
  const inner = board.panels.filter(({ panels }) => (panels ?? []).length > 0);
  return [
    { top: 0, panels: board.panels },
    ...inner.map(({ gridPos, panels }) => ({ top: gridPos.y + 1, panels: panels ?? [] })),
  ];
}

/** By cell, how many panels cover it. */
function cellsOf(panels: Panel[]): Map<string, number> {
  const cells = new Map<string, number>();
  for (const { gridPos } of panels) {
    for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        cells.set(`${x},${y}`, (cells.get(`${x},${y}`) ?? 0) + 1);
      }
    }
  }
  return cells;
}

/** Each panel with the most panels that share a cell with it; more than one too when it leaves the grid. */
function covered(board: Board): { panel: Panel; times: number }[] {
  return groups(board).flatMap(({ panels }) => {
    const cells = cellsOf(panels);
    return panels.map((panel) => {
      const { x, y, w, h } = panel.gridPos;
      const isOutside = x < 0 || y < 0 || w < 1 || h < 1 || x + w > COLUMNS;
      const own = [...cellsOf([panel]).keys()].map((cell) => cells.get(cell) ?? 0);
      return { panel, times: isOutside ? 2 : Math.max(...own) };
    });
  });
}
