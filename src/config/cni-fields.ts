/** The section `cni` of NodeConfiguration. */

import * as z from 'zod/mini';
import { checked, cidrs, flag } from './field-kinds.ts';

const DEFAULT_STATE_DIRECTORY = '/var/lib/kproxy-ts';

/** Absolute, so that it doesn't depend on where the daemon was started. */
const directory = (fallback: string) =>
  z._default(
    checked('must be an absolute path', value => (value.startsWith('/') ? value : undefined)),
    fallback,
  );

export const CNI_FIELDS = {
  /** Whether pods of this node get their network from this daemon, which kproxy-cni asks. */
  enabled: flag(false),
  /** Where addresses and attachments are kept. */
  stateDirectory: directory(DEFAULT_STATE_DIRECTORY),
  /** Where pods are known by their own addresses, beside clusterCIDR and the pod ranges of the node. */
  nonMasqueradeCIDRs: cidrs(),
} as const;

export type CniConfiguration = z.infer<z.ZodMiniObject<typeof CNI_FIELDS>>;
