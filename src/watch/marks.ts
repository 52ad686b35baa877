/** Which keys changed, while it is being noted: a Dirty in the making. */
import type { Kind } from './objects.ts';

/** Where a kind is in the snapshot, and in the marks, that is there as it is. */
export const PLAIN = { Service: 'services', Node: 'nodes', Namespace: 'namespaces', Pod: 'pods' } as const satisfies {
  readonly [K in Kind]?: string;
};

export type Marks = (typeof PLAIN)[keyof typeof PLAIN];

export type WritableDirty = Record<Marks, Set<string>> & {
  hasRemovals: boolean;
  hasServiceCIDRs: boolean;
};

/** Nothing has changed yet. */
export function newMarks(): WritableDirty {
  return {
    services: new Set(),
    nodes: new Set(),
    namespaces: new Set(),
    pods: new Set(),
    hasRemovals: false,
    hasServiceCIDRs: false,
  };
}
