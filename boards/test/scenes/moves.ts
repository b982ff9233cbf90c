/**
 * What has to move in each scene, beside the normal one: panels by title, on every board that has them or on the one that is named
 * before it. All others must not.
 *
 * What a scene is: `e2e/src/boards/scenes.rs` and `mock-service load --scene`.
 */
import type { Move } from './compare.ts';

/** One menu in ten is answered with 500. */
const TEN_PERCENT_FAILURES: Record<string, Move> = {
  Customers: 'words',
  Business: 'words',
  Engineering: 'words',
  'Budget left, 30 d': 'down',
  'Menu success': 'down',
  'Menu success over time': 'down',
  'Affected requests': 'up',
  'Minutes by route': 'up',
  'Bad minutes': 'up',
  'Burn rate': 'up',
  'Burn rate, 5 minutes': 'up',
  // Fewer menus arrive, and as many items are viewed.
  'Menu views': 'down',
  'Views a minute': 'down',
  'Items per menu': 'up',
  // Failures count 0.
  Apdex: 'down',
  'What customers saw': 'both',
  'Lost by failed menus (estimate)': 'up',
  'Lost by cause, over time (estimate)': 'up',
  'Requests a second': 'up',
  'Server spans a second': 'up',
  'Failure reasons': 'up',
  'Error log': 'up',
  Lines: 'up',
  'Failed requests': 'up',
  // Each failure is a line of the traffic generator too.
  'Rows stored a minute': 'up',
};

/** No menu is answered with 200, and none was in the day before: what that costs cannot be known. */
const TOTAL_OUTAGE: Record<string, Move> = {
  ...TEN_PERCENT_FAILURES,
  'Items per menu': 'gone',
  'Lost by failed menus (estimate)': 'gone',
  'Lost by cause, over time (estimate)': 'gone',
  'Requests a second': 'both',
  'Server spans a second': 'both',
};

/** As many views, of another item. */
const UNAVAILABLE_ITEM_SPIKE: Record<string, Move> = {
  'Value shown': 'down',
  'Found it': 'down',
  'Top restaurant': 'up',
  Unavailable: 'up',
  'Demand that was not served': 'up',
  'Lost by unavailable items (estimate)': 'up',
  'Lost by cause, over time (estimate)': 'up',
  'Views of items a minute': 'both',
  'Views by restaurant': 'both',
  'Views by category': 'both',
  'Views by price': 'both',
  'Popularity against a day and a week ago': 'both',
  Items: 'both',
};

/** Every third request is for an id that nobody has, so all others are fewer. */
const HOSTILE_IDS: Record<string, Move> = {
  'Menu views': 'down',
  'Item views': 'down',
  'Views a minute': 'down',
  'Items per menu': 'up',
  'Value shown': 'down',
  'Found it': 'down',
  Unavailable: 'down',
  'Lost by unavailable items (estimate)': 'down',
  'Lost by cause, over time (estimate)': 'down',
  'Views of items a minute': 'down',
  'Views by restaurant': 'down',
  'Views by category': 'down',
  'Views by price': 'down',
  'Popularity against a day and a week ago': 'down',
  Items: 'down',
  'Unknown items': 'up',
  'Unknown ids': 'both',
  'Unknown ids (stat)': 'up',
  'Unknown ids (table)': 'both',
  'Demand that was not served': 'both',
  'What customers saw': 'both',
  'Requests a second': 'both',
  'Server spans a second': 'both',
  'Failure reasons': 'up',
  'Error log': 'up',
  Lines: 'up',
  'Rows stored a minute': 'up',
};

/** Nothing is lost and nothing fails: data is late, and waits on the edge's disk. */
const PIPELINE_CUT: Record<string, Move> = {
  'Lag in seconds': 'up',
  'Lag in records, by partition': 'up',
  'Items a second, hop by hop': 'up',
  'Records in and out': 'up',
  // What waits at the end, on the unified board, is nothing.
  "pipeline-and-lag: On edges' disks": 'up',
  'Time to full': 'up',
  Ready: 'up',
};

export const MOVES: Record<string, Record<string, Move>> = {
  'ten-percent-failures': TEN_PERCENT_FAILURES,
  'total-outage': TOTAL_OUTAGE,
  'unavailable-item-spike': UNAVAILABLE_ITEM_SPIKE,
  'hostile-ids': HOSTILE_IDS,
  'pipeline-cut': PIPELINE_CUT,
  // What is stored already is stored once.
  'duplicate-replay': {},
};
