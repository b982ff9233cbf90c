/** Whether a panel has moved between two scenes, and which way. */
import type { Kind, Measured, Reading } from './readings.ts';

/**
 * Which way a panel moved: `both` when some of its readings rose and others fell, `gone` when it knows a number no more, `words`
 * for a sentence that begins otherwise.
 */
export type Move = 'up' | 'down' | 'both' | 'gone' | 'words';

/** How far a reading may wander: by this much, or by this share of the larger one, whatever is more. */
export const TOLERANCES: Record<Exclude<Kind, 'text'>, { amount: number; share: number }> = {
  // Requests are drawn from a seed and failures too: only probes of the start are more or fewer.
  count: { amount: 5, share: 0.03 },
  // Rates are read off samples a second apart.
  sampled: { amount: 15, share: 0.25 },
  // A busy machine lets records wait for a moment.
  gauge: { amount: 30, share: 0.6 },
  // Counters of the pipeline itself begin with what their first second has counted.
  share: { amount: 0.05, share: 0 },
  money: { amount: 0.1, share: 0.03 },
  // What a busy machine makes of milliseconds.
  seconds: { amount: 4, share: 0 },
  // Burn rates, bad minutes, starts, Apdex.
  number: { amount: 0.02, share: 0.03 },
  // Memory of a process, and what waits on a disk for a moment.
  bytes: { amount: 100_000, share: 0.8 },
  state: { amount: 0, share: 0 },
};

/** Panels that nobody can hold to a number, by title, and why. */
export const WANDERING: Record<string, string> = {
  'Complete until': 'it is a time of day',
  'Newest line': 'it is older the later it is asked',
  'Time to drain': 'it divides a lag of a moment by a difference of two rates that are hardly apart',
  'CPU of edges and hubs': 'it is as much as the machine has',
  'Item views a menu view':
    'it is a ratio of each minute, and the clock cuts a scene into minutes; *Items per menu* is of all',
  Tables: 'parts are merged when the server likes to',
  'Storage tiers': 'parts are merged when the server likes to',
};

/** The panels that differ, each with its move, by board and title. */
export function movesBetween(before: Measured[], after: Measured[]): Map<string, Move> {
  const moves = new Map<string, Move>();
  for (const { board, title, readings } of after.filter((each) => WANDERING[each.title] === undefined)) {
    const same = before.find((each) => each.board === board && each.title === title);
    const move = moveOf(same?.readings ?? {}, readings);
    if (move) {
      moves.set(`${board}: ${title}`, move);
    }
  }
  return moves;
}

/** The move of one panel; none when every reading is where it was. */
export function moveOf(before: Measured['readings'], after: Measured['readings']): Move | undefined {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const found = new Set(names.flatMap((name) => direction(before[name], after[name]) ?? []));
  for (const alone of ['words', 'gone'] as const) {
    if (found.has(alone)) {
      return alone;
    }
  }
  return found.size > 1 ? 'both' : [...found][0];
}

function direction(before: Reading | undefined, after: Reading | undefined): Move | undefined {
  const kind = (after ?? before)?.kind;
  if (kind === undefined || kind === 'text') {
    return firstWord(before) === firstWord(after) ? undefined : 'words';
  }
  if (typeof before?.value === 'number' && after?.value === null) {
    return 'gone';
  }
  const [from, to] = [numberOf(before), numberOf(after)];
  const { amount, share } = TOLERANCES[kind];
  if (Math.abs(to - from) <= Math.max(amount, share * Math.max(Math.abs(from), Math.abs(to)))) {
    return undefined;
  }
  return to > from ? 'up' : 'down';
}

const firstWord = (reading: Reading | undefined) => String(reading?.value ?? '').split(/[:\s]/)[0];
/** A series that is not there has counted nothing. */
const numberOf = (reading: Reading | undefined) => (typeof reading?.value === 'number' ? reading.value : 0);
