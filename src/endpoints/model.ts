import { isDeepStrictEqual } from 'node:util';
import { Map as ImmutableMap } from 'immutable';
import type { EndpointSlice, IPFamily, Service } from '../watch/objects.ts';
import type { Snapshot } from '../watch/snapshot.ts';
import { categorize } from './categorize.ts';
import { replaceClaims, settle } from './claims.ts';
import { collectEndpoints } from './collect-endpoints.ts';
import { servicePortsOf } from './service-ports.ts';
import { type Model, type NodeFacts, type ServicePort, type ServiceRoute, servicePortKey } from './types.ts';

/** A Model without Services: where every chain of updates begins. */
export function emptyModel(family: IPFamily, node: NodeFacts): Model {
  return {
    family,
    node,
    routes: ImmutableMap(),
    servicePorts: ImmutableMap(),
    claims: ImmutableMap(),
    changed: new Set(),
    contested: new Set(),
  };
}

/**
 * The Model for a newer snapshot. `dirty` names the Services (namespace/name) that may differ; only these, and the Services
 * that share a claim with them, are looked at. A different node (zone or name) makes every Service dirty.
 */
export function updateModel(previous: Model, snapshot: Snapshot, dirty: Iterable<string>, node: NodeFacts): Model {
  const isSameNode = isDeepStrictEqual(withoutServer(previous.node), withoutServer(node));
  const services = new Set(isSameNode ? dirty : [...previous.servicePorts.keys(), ...snapshot.services.keys()]);
  if (!isDeepStrictEqual(previous.node.ownServer, node.ownServer)) {
    for (const facts of [previous.node, node]) if (facts.ownServer !== undefined) services.add(facts.ownServer.service);
  }
  const touched = new Set<string>();
  let { servicePorts, claims } = previous;
  servicePorts = servicePorts.withMutations(map => {
    for (const key of services) {
      const before = map.get(key) ?? [];
      const after = wantedPorts(snapshot.services.get(key), previous.family, node);
      if (isDeepStrictEqual(before, after)) continue;
      claims = replaceClaims(claims, { previous: before, next: after }, touched);
      if (after.length === 0) map.delete(key);
      else map.set(key, after);
    }
  });
  for (const service of claimants(touched, previous.claims, claims)) services.add(service);
  const wanted: Model = {
    ...previous,
    node,
    servicePorts,
    claims,
    contested: contest(previous.contested, claims, touched),
  };
  return rebuildRoutes(previous, wanted, services, snapshot);
}

/** What concerns more than one Service. */
function withoutServer({ ownServer: _, ...facts }: NodeFacts): NodeFacts {
  return facts;
}

function wantedPorts(service: Service | undefined, family: IPFamily, node: NodeFacts): readonly ServicePort[] {
  return service === undefined ? [] : servicePortsOf(service, family, node.allowedExternalIPs);
}

/** Services that gained or lost one of the touched claims to another. */
function* claimants(touched: Iterable<string>, before: Model['claims'], after: Model['claims']): Iterable<string> {
  for (const key of touched) {
    for (const port of [before.get(key)?.[0], after.get(key)?.[0]]) {
      if (port !== undefined) yield `${port.name.namespace}/${port.name.name}`;
    }
  }
}

function contest(
  before: ReadonlySet<string>,
  claims: Model['claims'],
  touched: ReadonlySet<string>,
): ReadonlySet<string> {
  const isContested = (key: string) => (claims.get(key)?.length ?? 0) > 1;
  if (![...touched].some(key => isContested(key) !== before.has(key))) return before;
  return new Set([...before, ...touched].filter(isContested));
}

/** Replaces the routes of `services`; a route that comes out equal stays the same object and isn't counted as changed. */
function rebuildRoutes(previous: Model, wanted: Model, services: Iterable<string>, snapshot: Snapshot): Model {
  const changed = new Set<string>();
  const routes = previous.routes.withMutations(map => {
    for (const service of services) {
      const ports = wanted.servicePorts.get(service) ?? [];
      const slices = snapshot.slices.get(service);
      for (const port of ports) {
        const key = servicePortKey(port.name);
        const route = buildRoute(port, slices?.values() ?? [], wanted);
        if (isDeepStrictEqual(map.get(key), route)) continue;
        map.set(key, route);
        changed.add(key);
      }
      const kept = new Set(ports.map(port => servicePortKey(port.name)));
      for (const port of previous.servicePorts.get(service) ?? []) {
        const key = servicePortKey(port.name);
        if (kept.has(key)) continue;
        map.delete(key);
        changed.add(key);
      }
    }
  });
  return { ...wanted, routes, changed };
}

function buildRoute(port: ServicePort, slices: Iterable<EndpointSlice>, model: Model): ServiceRoute {
  const endpoints = collectEndpoints(slices, port, model.node);
  return { servicePort: settle(port, model.claims), endpoints, ...categorize(endpoints, port, model.node) };
}
