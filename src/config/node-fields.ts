/**
 * NodeConfiguration, our own second document: what KubeProxyConfiguration has no field for. Only what this version acts on has
 * a schema; a field that a later version has is known by name, so that the warning can say so.
 */
import * as z from 'zod/mini';
import { CNI_FIELDS } from './cni-fields.ts';
import { DNS_FIELDS } from './dns-fields.ts';
import { choice, cidrs, flag, section, text } from './field-kinds.ts';

/** The fields of each section. */
export const NODE_SECTIONS = {
  cni: CNI_FIELDS,
  dns: DNS_FIELDS,
  iptables: {
    /** Which of the kernel's two rule sets the iptables tools talk to; auto = the one that the node already uses. */
    variant: choice(['auto', 'nft', 'legacy'], 'auto'),
  },
  metrics: {
    /** Counters for each Service port: many series on a large cluster, and a look at the kernel's rules at each scrape. */
    perService: flag(false),
  },
  services: {
    /** The CIDRs that spec.externalIPs may be of. Whoever may write a Service may else take the traffic of any address (CVE-2020-8554). */
    allowedExternalIPs: cidrs(['0.0.0.0/0', '::/0']),
  },
  watch: {
    /** Where endpoints come from; auto = EndpointSlices, or Endpoints when the server has no discovery.k8s.io/v1. */
    endpoints: choice(['auto', 'EndpointSlice', 'Endpoints'], 'auto'),
  },
} as const;

/** The fields that aren't in a section. */
export const NODE_TOP_LEVEL = { apiVersion: text(), kind: text() } as const;

/** Sections that later versions have. */
export const LATER_NODE_SECTIONS: ReadonlySet<string> = new Set([
  'conntrack',
  'dump',
  'ipvs',
  'nftables',
  'routes',
  'userspace',
]);

export const nodeSchema = z.object({
  ...NODE_TOP_LEVEL,
  cni: section(NODE_SECTIONS.cni),
  dns: section(NODE_SECTIONS.dns),
  iptables: section(NODE_SECTIONS.iptables),
  metrics: section(NODE_SECTIONS.metrics),
  services: section(NODE_SECTIONS.services),
  watch: section(NODE_SECTIONS.watch),
});

/** A whole NodeConfiguration with defaults filled in. */
export type NodeFields = z.infer<typeof nodeSchema>;
