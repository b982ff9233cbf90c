/**
 * Reading requests within bounds.
 */
import type { IncomingMessage } from 'node:http';

/** A query is text that a person wrote; a megabyte is far above any. */
const MOST_BYTES = 1 << 20;

/** A request that is not answered, and why. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The body as text. @throws Refusal when it is too long */
export async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += (chunk as Buffer).length;
    if (length > MOST_BYTES) {
      throw new Refusal(413, `a query is at most ${MOST_BYTES} bytes long`);
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}
