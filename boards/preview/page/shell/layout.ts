/**
 * Where panels stand once some rows are collapsed.
 */
import type { Panel, Section } from '../../query/index.ts';

const COLUMNS = 24;
const UNIT = 30;
const GAP = 8;

/** A panel and the pixel at which it begins. */
export interface Place {
  panel: Panel;
  y: number;
}

/** Places rows and panels below each other; what follows a collapsed row moves up. */
export function layOut(sections: Section[], collapsed: ReadonlySet<number>): { places: Place[]; height: number } {
  const places: Place[] = [];
  let top = 0;
  for (const { row, panels } of sections) {
    if (row) {
      places.push({ panel: row, y: pixels(top) });
      top += 1;
    }
    if (row && collapsed.has(row.id)) {
      continue;
    }
    const first = Math.min(...panels.map(({ gridPos }) => gridPos.y), Infinity);
    for (const panel of panels) {
      places.push({ panel, y: pixels(top + panel.gridPos.y - first) });
    }
    top += Math.max(0, ...panels.map(({ gridPos }) => gridPos.y - first + gridPos.h));
  }
  return { places, height: pixels(top) };
}

/** A panel's place across and its size, in pixels, in a grid of the given width. */
export function sizeOf({ gridPos }: Panel, width: number): { left: number; width: number; height: number } {
  const column = (width + GAP) / COLUMNS;
  return {
    left: Math.round(gridPos.x * column),
    width: Math.round(gridPos.w * column - GAP),
    height: gridPos.h * UNIT + (gridPos.h - 1) * GAP,
  };
}

function pixels(units: number): number {
  return units * (UNIT + GAP);
}
