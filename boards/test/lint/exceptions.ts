/** What the rules would refuse, and why it is right all the same. One that nothing needs any more fails the lint's test. */

/** Findings of a rule that are allowed: those of these subjects, if any are named, whose text matches, if it has to. */
export interface Exception {
  rule: string;
  subject?: string[];
  about?: RegExp;
  reason: string;
}

export const EXCEPTIONS: Exception[] = [
  {
    rule: 'unit',
    subject: ['Customers', 'Business', 'Engineering'],
    reason: 'it is a sentence, with the units of its numbers in it',
  },
  {
    rule: 'rate-window',
    subject: ['Time to full'],
    reason: 'its definition names the five minutes, and the alert on it looks at as fixed a time',
  },
  {
    rule: 'process-matchers',
    about: /^hub_(lag_\w+|log_(start|end)_offset) /,
    reason:
      'each hub tells of all partitions, those that nobody owns too: narrowed to one hub it would say the same or nothing',
  },
  {
    rule: 'process-matchers',
    about:
      /^(hub_lag_seconds\|)?(edge_spool_(oldest_pending_seconds|pending_items|dropped_items_total|corrupt_items_total)|edge_filelog_lost_bytes_total|hub_records_lost_total|hub_dead_lettered_total|hub_audit_\w+|hub_assigned_partitions) /,
    reason: 'whether numbers can be believed is a question to the whole pipeline, and whether a hub is there at all',
  },
  {
    rule: 'process-matchers',
    about:
      /^(edge_receiver_items_total|edge_publisher_acked_items_total|hub_items_stored_total|hub_records_resolved_total) /,
    reason: 'hops are of different programs: narrowed to one of them the others would seem to stand',
  },
  {
    rule: 'sql-service',
    subject: ['annotation Service starts'],
    reason: 'it marks every board, and boards of the pipeline have no variable for services',
  },
  {
    rule: 'sql-service',
    subject: ['Trace ${trace_id}', 'Lines of trace ${trace_id}'],
    reason: 'a trace goes through services, and its id chooses it',
  },
  {
    rule: 'sql-time',
    subject: ['Trace ${trace_id}', 'Lines of trace ${trace_id}'],
    reason: "a trace's own time is looked up by its id, so that a link finds it whatever range is chosen",
  },
  {
    rule: 'sql-time',
    subject: ['Tables', 'Storage tiers'],
    about: /FROM system\.parts/,
    reason: 'what lies on disks has no range of time',
  },
];
