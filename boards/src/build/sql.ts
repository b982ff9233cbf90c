/** Pieces of SQL that every query of the request rollup shares, so that no panel counts other requests than its neighbour. */

export const LIST = "'/api/menu'";
export const ITEM = "'/api/menu/{id}'";

/** Rows of the rollup in the time range, of the chosen services. */
export const IN_RANGE = '$__timeFilter(minute) AND service IN (${service:singlequote})';

/** `IN_RANGE` without probes and unknown paths. */
export const REQUESTS = `${IN_RANGE} AND route IN (${LIST}, ${ITEM})`;

/** Item answers of the chosen restaurants and categories. */
export const ITEM_VIEWS =
  `${IN_RANGE} AND route = ${ITEM} AND status = 200 ` +
  'AND restaurant IN (${restaurant:singlequote}) AND category IN (${category:singlequote})';

/** Rows of the log in the time range, of the chosen services. */
export const LOG_ROWS = '$__timeFilter(Timestamp) AND ServiceName IN (${service:singlequote})';

/** What a reader has typed into a variable. Encoded it cannot leave the quotes; `sqlstring` lets a backslash end them. */
export const written = (variable: string): string => `decodeURLComponent('\${${variable}:percentencode}')`;

/** One line, without the line breaks that make it readable here. */
export function sql(strings: TemplateStringsArray, ...values: (string | number)[]): string {
  return String.raw({ raw: strings }, ...values)
    .replace(/\s+/g, ' ')
    .trim();
}
