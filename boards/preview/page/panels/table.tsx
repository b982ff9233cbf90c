/**
 * Table, drawn by Grafana's own.
 */
import { getFieldDisplayName, type DataFrame } from '@grafana/data';
import type { TableCellHeight } from '@grafana/schema';
import { Combobox, type TableSortByFieldState } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { useState } from 'react';
import { fieldConfigOf, optionsOf } from '../defaults.ts';
import type { PanelProps } from './panel.ts';

interface Options {
  frameIndex?: number;
  showHeader: boolean;
  sortBy?: TableSortByFieldState[];
  cellHeight?: TableCellHeight;
  enablePagination?: boolean;
  frozenColumns?: { left?: number };
}

/** Room for the choice of a frame, where there are several. */
const CHOICE_HEIGHT = 40;

/** The table panel. */
export function TablePanel({ panel, frames, range, theme, width, height }: PanelProps) {
  const options = optionsOf<Options>(panel);
  const [chosen, setChosen] = useState(options.frameIndex ?? 0);
  const filled = frames.filter((frame) => frame.fields.length > 0);
  const index = Math.min(chosen, filled.length - 1);
  const frame = filled[index];
  if (!frame) {
    return null;
  }
  const choiceHeight = filled.length > 1 ? CHOICE_HEIGHT : 0;
  return (
    <div style={{ width, height }}>
      <TableNG
        data={frame}
        width={width}
        height={height - choiceHeight}
        noHeader={!options.showHeader}
        showTypeIcons={false}
        resizable
        sortBy={options.sortBy}
        cellHeight={options.cellHeight}
        enablePagination={options.enablePagination}
        frozenColumns={options.frozenColumns?.left}
        timeRange={range}
        fieldConfig={fieldConfigOf(panel)}
        structureRev={1}
        transparent={panel.transparent}
        noValue={panel.fieldConfig?.defaults.noValue}
      />
      {choiceHeight > 0 && (
        <div style={{ padding: theme.spacing(0.5) }}>
          <Combobox
            options={filled.map((each, position) => ({ label: frameName(each, filled), value: position }))}
            value={index}
            onChange={({ value }) => setChosen(value)}
          />
        </div>
      )}
    </div>
  );
}

function frameName(frame: DataFrame, all: DataFrame[]): string {
  const value = frame.fields[1] ?? frame.fields[0];
  return frame.name ?? (value ? getFieldDisplayName(value, frame, all) : (frame.refId ?? ''));
}
