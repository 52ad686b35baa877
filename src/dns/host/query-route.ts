/** How `kproxy-ts dns query` asks the daemon: `POST /v1/dns/query` on its socket, with `{"name": text, "type": number}`. */
import { JSON_TYPE, type Reply, type Route, TEXT } from '../../http/routes.ts';
import type { Explanation } from '../explain.ts';

export const DNS_QUERY_PATH = '/v1/dns/query';

/** The key of the route. */
export const DNS_QUERY_ROUTE = `POST ${DNS_QUERY_PATH}`;

export interface Asked {
  readonly name: string;
  readonly type: number;
}

/** 409 where no names are answered. @param explain undefined = DNS isn't enabled */
export function dnsQueryRoute(explain: (name: string, type: number) => Promise<Explanation | undefined>): Route {
  return async body => {
    const asked = parsed(body);
    if (asked === undefined) return complaint(400, 'must be {"name": text, "type": number}');
    const explanation = await explain(asked.name, asked.type);
    if (explanation === undefined) return complaint(409, "this daemon answers no names: dns.enabled isn't true");
    return { status: 200, contentType: JSON_TYPE, body: JSON.stringify(explanation) };
  };
}

function complaint(status: number, text: string): Reply {
  return { status, contentType: TEXT, body: `${text}\n` };
}

function parsed(body: string): Asked | undefined {
  try {
    const asked: unknown = JSON.parse(body);
    if (typeof asked !== 'object' || asked === null || !('name' in asked) || !('type' in asked)) return undefined;
    const { name, type } = asked;
    const isType = Number.isInteger(type) && Number(type) >= 0 && Number(type) <= 65_535;
    return typeof name === 'string' && isType ? { name, type: Number(type) } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
