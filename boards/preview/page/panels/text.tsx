/**
 * Text in Markdown or HTML. Variables are escaped, so that a value cannot become markup.
 */
import { renderTextPanelMarkdown, textUtil } from '@grafana/data';
import type { PanelProps } from './panel.ts';

interface Options {
  mode?: 'markdown' | 'html' | 'code';
  content?: string;
}

/** The text panel. */
export function TextPanel({ panel, replace, width, height }: PanelProps) {
  const { mode = 'markdown', content = '' } = (panel.options ?? {}) as Options;
  const style = { width, height, overflow: 'auto' };
  if (mode === 'code') {
    return <pre style={style}>{replace(content)}</pre>;
  }
  const filled = replace(content, {}, 'html');
  const html = mode === 'html' ? textUtil.sanitizeTextPanelContent(filled) : renderTextPanelMarkdown(filled);
  return <div className="markdown-html" style={style} dangerouslySetInnerHTML={{ __html: html }} />;
}
