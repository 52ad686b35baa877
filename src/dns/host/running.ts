/** A set of workers that runs, and what it was made with. */
import type { Configuration } from '../../config/configuration.ts';
import type { DnsSettings } from '../settings.ts';
import type { Feed } from './feed.ts';
import type { Workers } from './workers.ts';

/** Where it is different others take their place. */
export type Basis = Pick<Configuration['dns'], 'workers' | 'namespaces' | 'endpointPodNames' | 'pods'>;

export interface Running {
  readonly workers: Workers;
  readonly feed: Feed;
  readonly basis: Basis;
  settings: DnsSettings;
  /** Resolves when they answer from a complete list; rejects when they die before. */
  readonly complete: Promise<void>;
  isComplete: boolean;
}

export function basisOf({ workers, namespaces, endpointPodNames, pods }: Basis): Basis {
  return { workers, namespaces, endpointPodNames, pods };
}

/** False = they died before. */
export function isCompleted({ complete }: Running): Promise<boolean> {
  return complete.then(
    () => true,
    () => false,
  );
}
