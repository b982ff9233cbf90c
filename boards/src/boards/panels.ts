/** Panels that more than one board has. */
import { DashboardLinkBuilder, DashboardLinkType } from "@grafana/grafana-foundation-sdk/dashboard";

export * from "./panels/business.ts";
export * from "./panels/customers.ts";
export * from "./panels/engineering.ts";
export * from "./panels/pipeline.ts";
export { SERVICE_BOARD } from "./panels/links.ts";

/** A link in a panel's head to another board, with the range and the variables. */
export function drill(uid: string): DashboardLinkBuilder {
  const url = `/d/${uid}?\${__url_time_range}&\${__all_variables}`;
  return new DashboardLinkBuilder(`Open ${uid}`).type(DashboardLinkType.Link).url(url);
}
