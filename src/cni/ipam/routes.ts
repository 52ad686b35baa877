/** How `kproxy-ts ipam` asks the daemon: `GET /v1/ipam`, and `POST /v1/ipam/free` with a FreeRequest. */
import { JSON_TYPE, type Reply, type Route, TEXT } from '../../http/routes.ts';
import { canonicalIP } from '../../net/ip.ts';
import type { Lease } from './lease.ts';

export const IPAM_PATH = '/v1/ipam';
export const IPAM_FREE_PATH = '/v1/ipam/free';

/** The key of the second route. */
export const IPAM_FREE_ROUTE = `POST ${IPAM_FREE_PATH}`;

/** One address of a network, held or resting; or all that a container has. */
export type FreeRequest = { readonly isForced: boolean } & (
  | { readonly network: string; readonly address: string }
  | { readonly containerID: string }
);

/** What was freed, [] = there was nothing such; or why not, for the person that asked. */
export type FreeOutcome = { readonly freed: readonly Lease[] } | { readonly refused: string };

/** What the agent does for the command line. */
export interface IpamService {
  list(): Promise<readonly Lease[]>;
  /** Takes away the attachment's links and rules too. Refuses while the pod's namespace lives, unless it is forced. */
  free(request: FreeRequest): Promise<FreeOutcome>;
}

/** 409 where no pods are wired. @param service undefined = pod networking isn't enabled */
export function ipamRoutes(service: () => IpamService | undefined): Readonly<Record<string, Route>> {
  return {
    [IPAM_PATH]: async () => {
      const ipam = service();
      return ipam === undefined ? NOT_ENABLED : json(await ipam.list());
    },
    [IPAM_FREE_ROUTE]: async body => {
      const ipam = service();
      if (ipam === undefined) return NOT_ENABLED;
      const request = parseFreeRequest(body);
      if (request === undefined) return complaint(400, EXPECTED);
      const outcome = await ipam.free(request);
      return 'refused' in outcome ? complaint(409, outcome.refused) : json(outcome.freed);
    },
  };
}

const EXPECTED =
  'must be {"network": text, "address": IP, "isForced": boolean} or {"containerID": text, "isForced": boolean}';

const NOT_ENABLED = complaint(409, "this daemon wires no pods: cni.enabled isn't true");

function json(value: unknown): Reply {
  return { status: 200, contentType: JSON_TYPE, body: JSON.stringify(value) };
}

function complaint(status: number, text: string): Reply {
  return { status, contentType: TEXT, body: `${text}\n` };
}

function parseFreeRequest(body: string): FreeRequest | undefined {
  const asked = parseJson(body);
  if (typeof asked !== 'object' || asked === null) return undefined;
  const { network, address, containerID, isForced } = asked as Readonly<Record<string, unknown>>;
  if (typeof isForced !== 'boolean') return undefined;
  if (typeof containerID === 'string' && containerID !== '') return { containerID, isForced };
  const ip = typeof address === 'string' ? canonicalIP(address) : undefined;
  return typeof network === 'string' && ip !== undefined ? { network, address: ip, isForced } : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
