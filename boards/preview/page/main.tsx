/**
 * The page: either the list of boards or one board.
 */
import { ThemeContext, createTheme } from '@grafana/data';
import { GlobalStyles, PortalContainer } from '@grafana/ui';
import { useEffect, useMemo, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { parseAddress } from '../query/index.ts';
import { loadConfig, type PageConfig } from './api.ts';
import { BoardList } from './shell/board-list.tsx';
import { BoardPage } from './shell/board-page.tsx';
import { Problem } from './shell/problem.tsx';
import { setUp } from './setup.ts';

type Theme = 'dark' | 'light';

/** Where the choice of dark or light is kept between visits. */
const THEME_KEY = 'boards-preview.theme';

function App() {
  const [theme, setTheme] = useState<Theme>(firstTheme);
  const [config, setConfig] = useState<PageConfig | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const grafanaTheme = useMemo(() => createTheme({ colors: { mode: theme } }), [theme]);
  useEffect(() => {
    // Texts are measured on a canvas, so the fonts, which the style above names, have to be there before the first panel.
    Promise.all([loadConfig(), loadFonts()])
      .then(([loaded]) => setConfig(loaded))
      .catch(setError);
  }, []);
  useEffect(() => {
    document.body.className = `theme-${theme}`;
    document.body.style.background = grafanaTheme.colors.background.canvas;
    localStorage.setItem(THEME_KEY, theme);
  }, [theme, grafanaTheme]);

  const uid = /^\/d\/([^/]+)/.exec(window.location.pathname)?.[1];
  const toggleTheme = () => setTheme(theme === 'dark' ? 'light' : 'dark');
  return (
    <ThemeContext.Provider value={grafanaTheme}>
      <GlobalStyles />
      {error && <Problem text={error.message} />}
      {config && !uid && <BoardList boards={config.boards} onToggleTheme={toggleTheme} />}
      {config && uid && (
        <BoardPage uid={decodeURIComponent(uid)} config={config} theme={theme} onToggleTheme={toggleTheme} />
      )}
      <PortalContainer />
    </ThemeContext.Provider>
  );
}

function loadFonts(): Promise<unknown> {
  return Promise.all(
    ['400 14px Inter', '500 14px Inter', '400 14px "Roboto Mono"'].map((font) => document.fonts.load(font)),
  );
}

function firstTheme(): Theme {
  const stored = localStorage.getItem(THEME_KEY);
  return parseAddress(window.location.search).theme ?? (stored === 'light' ? 'light' : 'dark');
}

setUp();
createRoot(document.getElementById('root') as HTMLElement).render(<App />);
