/** A node of the nftables mode over a kernel in memory: its Services, step by step. */
import type { Applied, Plan } from '../../../../src/backends/backend.ts';
import { diff } from '../../../../src/backends/diff.ts';
import { createNftablesBackend } from '../../../../src/backends/nftables/backend.ts';
import type { NftObject } from '../../../../src/backends/nftables/objects.ts';
import { changesSince, planAll } from '../../../../src/backends/route-changes.ts';
import {
  type Endpoint,
  type Model,
  type ServicePort,
  type ServiceRoute,
  servicePortKey,
} from '../../../../src/endpoints/types.ts';
import type { IPFamily } from '../../../../src/watch/objects.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';
import { NFTABLES_OPTIONS, NFTABLES_OPTIONS_V6, servicePort } from '../../../fakes/objects.ts';
import { modelOf } from './random-routes.ts';

export class Node {
  readonly kernel: FakeNfTables;
  readonly backend: ReturnType<typeof createNftablesBackend>;
  readonly #family: IPFamily;
  plan: Plan<NftObject> = new Map();
  #model: Model | undefined;

  constructor(family: IPFamily, kernel = new FakeNfTables()) {
    this.#family = family;
    this.kernel = kernel;
    const options = family === 'IPv4' ? NFTABLES_OPTIONS : NFTABLES_OPTIONS_V6;
    this.backend = createNftablesBackend(() => options, { family, kernel });
  }

  async set(routes: ReadonlyMap<string, ServiceRoute>): Promise<Applied<NftObject>['failures']> {
    const model = modelOf(this.#family, routes, this.#model);
    const changes =
      this.#model === undefined
        ? diff(this.plan, planAll(this.backend, model), { settle: this.backend.settle })
        : changesSince(this.backend, { previous: this.#model, current: this.plan, model });
    this.#model = model;
    const applied = await this.backend.apply(changes, this.plan);
    this.plan = applied.plan;
    return applied.failures;
  }
}

/** One Service port, with endpoints that all may use. */
export function routeTo(
  endpoints: readonly Endpoint[],
  port: Partial<ServicePort> = {},
): ReadonlyMap<string, ServiceRoute> {
  const route: ServiceRoute = {
    servicePort: servicePort(port),
    endpoints,
    clusterEndpoints: endpoints,
    localEndpoints: endpoints.filter(({ isLocal }) => isLocal),
    hasAnyEndpoints: endpoints.length > 0,
  };
  return new Map([[servicePortKey(route.servicePort.name), route]]);
}
