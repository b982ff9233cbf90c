/**
 * Runs the queries of Grafana dashboards without Grafana.
 *
 * ```ts
 * const board = loadDashboard(readFileSync('dashboards/slo.json', 'utf8'));
 * const http = { fetch };
 * const range = parseRange('now-6h', 'now');
 * const { variables } = await resolveVariables(board, { sources, range, http });
 * for (const panel of panelsOf(board)) {
 *   for (const target of targetsOf(panel)) {
 *     const frames = await runTarget(target, { sources, range, variables, http }, panel);
 *   }
 * }
 * ```
 *
 * It knows nothing of React or of a browser.
 */
export * from './address.ts';
export * from './alerts.ts';
export * from './annotations.ts';
export { Format, queryClickHouse, shapeForFormat, toFrame, type ClickHouseSource } from './clickhouse.ts';
export * from './context.ts';
export * from './frames.ts';
export * from './http.ts';
export * from './interpolate.ts';
export * from './links.ts';
export { expandConditionalAll, expandMacros, MacroError, type MacroContext } from './macros.ts';
export * from './model.ts';
export {
  legendOf,
  queryExemplars,
  queryPrometheus,
  stepsOf,
  type PrometheusQuery,
  type PrometheusSource,
} from './prometheus.ts';
export * from './run.ts';
export * from './time.ts';
export * from './variables.ts';
