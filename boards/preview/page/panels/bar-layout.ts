/**
 * Where the bars of a bar chart stand. Categories are one unit wide; the first stands at 0.
 */

/** What is to be laid out. */
export interface BarInput {
  categories: string[];
  series: Array<{
    name: string;
    values: Array<number | null>;
    color: (row: number) => string | undefined;
    legendColor: string | undefined;
    text: (value: number | null) => string;
  }>;
  stacking: 'none' | 'normal' | 'percent';
  /** Share of a category's width that its bars take. */
  groupWidth: number;
  /** Share of a bar's room that it takes. */
  barWidth: number;
  min?: number;
  max?: number;
}

/** A bar: `from` and `to` across the categories, `low` and `high` along the values. */
export interface Bar {
  category: number;
  series: string;
  from: number;
  to: number;
  low: number;
  high: number;
  color: string;
  text: string;
}

/** Bars, and the scale that they need. */
export interface BarData {
  categories: string[];
  series: Array<{ name: string; color: string }>;
  bars: Bar[];
  low: number;
  high: number;
  format: (value: number) => string;
}

/** Lays bars out. A stack of negative values grows downwards. */
export function barsOf(input: BarInput): BarData {
  const { categories, series, stacking, groupWidth, barWidth } = input;
  const isStacked = stacking !== 'none';
  const room = groupWidth / (isStacked ? 1 : Math.max(1, series.length));
  const bars: Bar[] = [];
  categories.forEach((_, category) => {
    const total = series.reduce((sum, each) => sum + Math.abs(each.values[category] ?? 0), 0);
    let above = 0;
    let below = 0;
    series.forEach((each, index) => {
      const raw = each.values[category];
      if (raw === null || raw === undefined || !Number.isFinite(raw)) {
        return;
      }
      const value = stacking === 'percent' ? raw / (total || 1) : raw;
      const base = isStacked ? (value < 0 ? below : above) : 0;
      const left = category + (1 - groupWidth) / 2 + (isStacked ? 0 : index * room) + (room * (1 - barWidth)) / 2;
      bars.push({
        category,
        series: each.name,
        from: left,
        to: left + room * barWidth,
        low: base,
        high: base + value,
        color: each.color(category) ?? '#808080',
        text: each.text(raw),
      });
      if (value < 0) {
        below += value;
      } else {
        above += value;
      }
    });
  });
  const ends = bars.flatMap((bar) => [bar.low, bar.high]);
  const highest = Math.max(0, ...ends);
  const lowest = Math.min(0, ...ends);
  return {
    categories,
    series: series.map(({ name, legendColor }) => ({ name, color: legendColor ?? '#808080' })),
    bars,
    // A little room above the highest bar keeps its value readable.
    low: input.min ?? lowest * 1.1,
    high: input.max ?? (stacking === 'percent' ? 1 : highest === lowest ? 1 : highest * 1.1),
    format: stacking === 'percent' ? (value) => `${Math.round(value * 100)}%` : (series[0]?.text ?? String),
  };
}

/** Start and length of what lies between two positions, whichever comes first. */
export function span(a: number, b: number): [start: number, length: number] {
  return [Math.min(a, b), Math.abs(b - a)];
}
