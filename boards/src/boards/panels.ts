/** Panels that more than one board has. */
export * from './panels/business.ts';
export * from './panels/customers.ts';
export * from './panels/engineering.ts';
export * from './panels/pipeline.ts';
export { PIPELINE_BOARD, SERVICE_BOARD } from './panels/links.ts';
