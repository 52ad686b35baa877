/**
 * Which flows lead nowhere. A flow of a Service keeps the endpoint that its first packet got: rules are asked for new flows
 * only. So when the endpoint goes, a client that goes on sending from the same socket (DNS, syslog, QUIC) sends into the void
 * for as long as it does, unless the flow is deleted: the next packet is a new flow then. TCP is left alone, because its ends
 * notice; so is SCTP, whose associations have addresses of their own.
 */
import { claimKey } from '../endpoints/claims.ts';
import { type Endpoint, type Model, type ServicePort, type ServiceRoute, servicePortKey } from '../endpoints/types.ts';
import type { Protocol } from '../watch/objects.ts';

/** What of an entry of the connection table decides. */
export interface ServiceFlow {
  readonly protocol: Protocol;
  /** Where the client sends: the destination of the original direction. */
  readonly destination: string;
  readonly destinationPort: number;
  /** Who answers: the source of the reply direction. */
  readonly replySource: string;
  readonly replyPort: number;
  /** Of conntrack; 0 unless somebody uses zones. */
  readonly zone: number;
}

export interface StaleOptions {
  /** Claims (see claims.ts) that were served: flows to them that were sent on are stale when nobody serves them now. */
  readonly lost?: ReadonlySet<string>;
  /** Whether an address is this node's and takes NodePorts. */
  readonly takesNodePorts?: (address: string) => boolean;
}

/**
 * Tells stale flows by the routes of a Model: flows to an address, port and protocol of a Service whose reply doesn't come
 * from an endpoint that still serves. That includes flows that no rule had sent on, as those from before the Service was
 * known. An endpoint serves while it is ready, or serving though it terminates or isn't among those chosen for new flows.
 */
export function staleJudge(model: Model, options: StaleOptions = {}): (flow: ServiceFlow) => boolean {
  const { lost, takesNodePorts = () => false } = options;
  const serving = new Map<ServiceRoute, ReadonlySet<string>>();
  const servingOf = (route: ServiceRoute) => {
    const known = serving.get(route);
    if (known !== undefined) return known;
    const found = new Set(route.endpoints.filter(isServing).map(({ ip, port }) => `${ip} ${port}`));
    serving.set(route, found);
    return found;
  };
  return flow => {
    if (flow.protocol !== 'UDP') return false;
    const wasSentOn = flow.replySource !== flow.destination || flow.replyPort !== flow.destinationPort;
    const isOurs = wasSentOn || flow.zone === 0;
    const { destination, destinationPort: port, protocol } = flow;
    const address = claimKey({ ip: destination, port, protocol });
    const nodePort = claimKey({ ip: undefined, port, protocol });
    const ofAddress = routeOf(model, address);
    // What passes through the node on its way elsewhere isn't ours, whoever sent it on.
    const isNodePort = ofAddress === undefined && takesNodePorts(destination);
    const route = ofAddress ?? (isNodePort ? routeOf(model, nodePort) : undefined);
    if (route !== undefined) return isOurs && !servingOf(route).has(`${flow.replySource} ${flow.replyPort}`);
    return (
      wasSentOn && lost !== undefined && (lost.has(address) || (lost.has(nodePort) && takesNodePorts(destination)))
    );
  };
}

function isServing(endpoint: Endpoint): boolean {
  return endpoint.isReady || endpoint.isServing;
}

function routeOf(model: Model, claim: string): ServiceRoute | undefined {
  const owner = model.claims.get(claim)?.[0];
  return owner === undefined ? undefined : model.routes.get(servicePortKey(owner.name));
}

/** How the flows to a claim that may be stale can be found. */
export interface Suspicion {
  /** Those that were sent on: by the ports of who answers them. */
  readonly replyPorts: ReadonlySet<number>;
  /** By where they were sent: those that weren't sent on, or nobody knows to whom. */
  readonly isByDestination: boolean;
}

export type Suspects = ReadonlyMap<string, Suspicion>;

/** The claims whose flows a newer Model may have made stale; none for most changes. */
export function suspectClaims(previous: Model, next: Model): Suspects {
  const suspects = new Map<string, Suspicion>();
  for (const key of next.changed) {
    if (!key.endsWith('/UDP')) continue;
    const before = previous.routes.get(key);
    const after = next.routes.get(key);
    const [old, now] = [servedClaims(before), servedClaims(after)];
    const gone = lostPorts(before?.endpoints ?? [], []);
    for (const claim of old) if (!now.has(claim)) suspects.set(claim, { replyPorts: gone, isByDestination: false });
    const lost = lostPorts(before?.endpoints ?? [], after?.endpoints ?? []);
    const isOpened = before !== undefined && after !== undefined && isOpenedTo(before, after);
    for (const claim of now) {
      const isByDestination = isOpened || !old.has(claim);
      if (lost.size > 0 || isByDestination) suspects.set(claim, { replyPorts: lost, isByDestination });
    }
  }
  return suspects;
}

/**
 * Whether clients that were refused or dropped before are sent on now. The rules that send on and those that refuse look at a packet one after the
 * other, and it may meet the former as they were before a commit and the latter as they are after it: it keeps its destination then, as a flow that lasts.
 */
function isOpenedTo(before: ServiceRoute, after: ServiceRoute): boolean {
  const begins = (endpoints: (route: ServiceRoute) => readonly Endpoint[]) =>
    endpoints(before).length === 0 && endpoints(after).length > 0;
  const isOther = (ranges: (port: ServicePort) => readonly string[]) =>
    ranges(before.servicePort).join() !== ranges(after.servicePort).join();
  return (
    begins(({ clusterEndpoints }) => clusterEndpoints) ||
    begins(({ localEndpoints }) => localEndpoints) ||
    isOther(({ loadBalancerSourceRanges }) => loadBalancerSourceRanges) ||
    isOther(({ nodePortSourceRanges }) => nodePortSourceRanges)
  );
}

/** Both together. */
export function mergeSuspects(a: Suspects, b: Suspects): Map<string, Suspicion> {
  const merged = new Map(a);
  for (const [claim, { replyPorts, isByDestination }] of b) {
    const other = merged.get(claim);
    merged.set(claim, {
      replyPorts: other === undefined ? replyPorts : new Set([...replyPorts, ...other.replyPorts]),
      isByDestination: isByDestination || other?.isByDestination === true,
    });
  }
  return merged;
}

/** Ports of the endpoints that served and don't any more. */
function lostPorts(before: readonly Endpoint[], after: readonly Endpoint[]): ReadonlySet<number> {
  if (before === after) return NO_PORTS;
  const left = new Set(after.filter(isServing).map(({ ip, port }) => `${ip} ${port}`));
  const lost = before.filter(endpoint => isServing(endpoint) && !left.has(`${endpoint.ip} ${endpoint.port}`));
  return lost.length === 0 ? NO_PORTS : new Set(lost.map(({ port }) => port));
}

const NO_PORTS: ReadonlySet<number> = new Set();

function servedClaims(route: ServiceRoute | undefined): ReadonlySet<string> {
  if (route === undefined) return new Set();
  const { clusterIP, externalIPs, loadBalancerVIPs, nodePort, port, name } = route.servicePort;
  const { protocol } = name;
  // Of an address that another Service owns, clusterIP is ''.
  const addresses = [clusterIP, ...externalIPs, ...loadBalancerVIPs].filter(ip => ip !== '');
  const keys = addresses.map(ip => claimKey({ ip, port, protocol }));
  return new Set(nodePort === 0 ? keys : [...keys, claimKey({ ip: undefined, port: nodePort, protocol })]);
}
