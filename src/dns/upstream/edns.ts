/** Servers that don't know EDNS say so with an error to a question with OPT; they are asked again without it, and for a while only so (RFC 6891 §6.2.2, §7). */
import { RCODE } from '../records.ts';
import { withoutOpt } from '../wire/question.ts';
import { type ExchangeOptions, exchange, type ServerAnswer } from './exchange.ts';
import type { ServerState } from './server-state.ts';

/** BADVERS too: version 0 is the only one, so who hasn't that has none. */
const DENIALS: ReadonlySet<number> = new Set([RCODE.FORMERR, RCODE.NOTIMP, RCODE.BADVERS]);

/** @param now monotonic milliseconds. @throws as `exchange` */
export async function exchangeWithServer(
  query: Buffer,
  state: ServerState,
  { now, ...options }: ExchangeOptions & { readonly now: () => number },
): Promise<ServerAnswer> {
  if (state.isWithoutEdns(now())) return exchange(withoutOpt(query), state.server, options);
  const answer = await exchange(query, state.server, options);
  if (!DENIALS.has(answer.message.rcode)) return answer;
  const plain = await exchange(withoutOpt(query), state.server, options);
  // Else it's the question itself that it doesn't like.
  if (!DENIALS.has(plain.message.rcode)) state.deniedEdns(now());
  return plain;
}
