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
    subject: [
      'Lag in seconds',
      'Lag in records, by partition',
      'Partitions',
      'Time to drain',
      'Head-room before retention',
    ],
    reason:
      'each hub tells of all partitions, those that nobody owns too: narrowed to one hub it would say the same or nothing',
  },
  {
    rule: 'process-matchers',
    subject: [
      'Complete until',
      'Data behind',
      'Stored ÷ acked',
      'Audit residual',
      'Dead letters',
      'Known lost',
    ],
    reason: 'whether numbers can be believed is a question to the whole pipeline',
  },
  {
    rule: 'process-matchers',
    subject: ['Inserts that were tried again', 'Dead letters'],
    about: /hub_assigned_partitions/,
    reason: 'it only tells a 0 that a hub stands behind from a hub that says nothing',
  },
  {
    rule: 'process-matchers',
    subject: ['Items a second, hop by hop', 'Records in and out'],
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
