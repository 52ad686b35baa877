import type { Map as ImmutableMap } from 'immutable';
import type { EndpointSlice, Namespace, Node, Pod, Service } from './objects.ts';

/** One consistent, immutable view of the cluster. Two snapshots share what did not change between them. */
export interface Snapshot {
  /** By namespace/name. */
  readonly services: ImmutableMap<string, Service>;
  /** By the Service's namespace/name, then by the slice's name. */
  readonly slices: ImmutableMap<string, ImmutableMap<string, EndpointSlice>>;
  /** By name. */
  readonly nodes: ImmutableMap<string, Node>;
  /**
   * The ranges of all ServiceCIDR objects, canonical, each once, sorted; empty where they aren't watched or the server has none.
   * Those that are being deleted count as well, as in kube-proxy: they go when no Service has an address of theirs any more.
   */
  readonly serviceCIDRs: readonly string[];
  /** By name; empty where they aren't watched. */
  readonly namespaces: ImmutableMap<string, Namespace>;
  /** By namespace/name; empty where they aren't watched. */
  readonly pods: ImmutableMap<string, Pod>;
}

/** What changed since the receiver last looked: keys only, the values are read from the snapshot (level-triggered). */
export interface Dirty {
  /** namespace/name of Services that changed themselves or whose EndpointSlices did. */
  readonly services: ReadonlySet<string>;
  readonly nodes: ReadonlySet<string>;
  readonly namespaces: ReadonlySet<string>;
  readonly pods: ReadonlySet<string>;
  /** An endpoint that took connections takes none any more: whoever waits a while for more changes must not wait with this one. */
  readonly hasRemovals: boolean;
  /** Snapshot.serviceCIDRs changed. */
  readonly hasServiceCIDRs: boolean;
}
