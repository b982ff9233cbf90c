/** Addresses that clicks lead to: from a number to the traces and lines behind it. */

/** The service's logs and traces, in the same range, for the same services. */
export const SERVICE_BOARD = '/d/service?${__url_time_range}&${service:queryparam}';

/** Where the pipeline stands, in the same range. */
export const PIPELINE_BOARD = '/d/pipeline-and-lag?${__url_time_range}';

/** One trace, by the id in a field of the row. */
export const traceOf = (field: string) =>
  `/d/service?\${__url_time_range}&\${service:queryparam}&var-trace_id=\${__data.fields["${field}"]}`;
