/**
 * The state of a board's page: what the address says, and what follows from it.
 */
import { useCallback, useEffect, useRef, useState } from 'react';
import {
  annotationQueries,
  formatAddress,
  loadDashboard,
  parseAddress,
  parseDuration,
  parseRange,
  resolveVariables,
  runAnnotations,
  type Annotation,
  type BoardState,
  type Dashboard,
  type QueryContext,
  type Source,
  type Variables,
} from '../../query/index.ts';
import { loadBoard, pageHttp } from '../api.ts';

/** The address, and which annotations are shown; these are not part of it. */
export interface PageState extends BoardState {
  annotations: Record<string, boolean>;
}

/** What a board's page works with. */
export interface BoardInUse {
  board: Dashboard | null;
  /** Anew at every refresh, so that panels ask again. */
  context: QueryContext | null;
  annotations: Annotation[];
  /** What failed beside panels: variables and annotations. */
  problems: string[];
  state: PageState;
  change: (part: Partial<PageState>) => void;
  refresh: () => void;
  failure: Error | null;
}

/** Loads a board and keeps it in step with the address. */
export function useBoard(uid: string, sources: Source[]): BoardInUse {
  const [board, setBoard] = useState<Dashboard | null>(null);
  const [failure, setFailure] = useState<Error | null>(null);
  const [state, setState] = useState<PageState>(() => ({ ...parseAddress(window.location.search), annotations: {} }));
  const [tick, setTick] = useState(0);
  const [context, setContext] = useState<QueryContext | null>(null);
  const [annotations, setAnnotations] = useState<Annotation[]>([]);
  const [variableProblems, setVariableProblems] = useState<string[]>([]);
  const [annotationProblems, setAnnotationProblems] = useState<string[]>([]);
  const resolved = useRef<{ key: string; variables: Variables } | null>(null);

  useEffect(() => {
    loadBoard(uid)
      .then((json) => {
        const loaded = loadDashboard(json);
        document.title = `${loaded.title} (preview)`;
        setState((before) => ({
          ...before,
          from: before.from ?? loaded.time?.from ?? 'now-6h',
          to: before.to ?? loaded.time?.to ?? 'now',
          refresh: before.refresh ?? loaded.refresh,
          annotations: Object.fromEntries(
            annotationQueries(loaded).map(({ name, enable }) => [name, enable !== false]),
          ),
        }));
        setBoard(loaded);
      })
      .catch(setFailure);
  }, [uid]);

  useEffect(() => {
    if (!board) {
      return undefined;
    }
    const ending = new AbortController();
    const run = async () => {
      const base = {
        sources,
        range: parseRange(state.from ?? 'now-6h', state.to ?? 'now'),
        http: pageHttp(ending.signal),
        board: { uid, title: board.title },
      };
      const key = JSON.stringify([state.from, state.to, state.chosen]);
      // A refresh alone leaves the choices as they are.
      if (resolved.current?.key !== key) {
        const { variables, errors } = await resolveVariables(board, base, state.chosen);
        if (ending.signal.aborted) {
          return;
        }
        resolved.current = { key, variables };
        setVariableProblems(errors.map(({ message }) => message));
      }
      setContext({ ...base, variables: resolved.current.variables });
    };
    run().catch((error: Error) => !ending.signal.aborted && setFailure(error));
    return () => ending.abort();
  }, [board, state.from, state.to, state.chosen, tick, sources, uid]);

  useEffect(() => {
    if (!board || !context) {
      return;
    }
    const wanted = annotationQueries(board).filter(({ name }) => state.annotations[name]);
    runAnnotations(wanted, context)
      .then((result) => {
        if (!context.http.signal?.aborted) {
          setAnnotations(result.annotations);
          setAnnotationProblems(result.errors.map(({ message }) => message));
        }
      })
      .catch(setFailure);
  }, [board, context, state.annotations]);

  useEffect(() => {
    if (context) {
      const theme = parseAddress(window.location.search).theme;
      window.history.replaceState(
        null,
        '',
        `?${formatAddress({ ...state, ...(theme ? { theme } : {}) }, context.variables)}`,
      );
    }
  }, [state, context]);

  useEffect(() => {
    const every = parseDuration(state.refresh ?? '');
    if (!every) {
      return undefined;
    }
    const timer = window.setInterval(() => setTick((count) => count + 1), every);
    return () => window.clearInterval(timer);
  }, [state.refresh]);

  return {
    board,
    context,
    annotations,
    problems: [...variableProblems, ...annotationProblems],
    state,
    change: useCallback((part: Partial<PageState>) => setState((before) => ({ ...before, ...part })), []),
    refresh: useCallback(() => setTick((count) => count + 1), []),
    failure,
  };
}
