/** An explanation as text for a terminal. Pure. */
import type { ExplainStep, Explanation } from './explain.ts';
import type { PresentedRecord } from './wire/presentation.ts';

/** The answer as dig shows it, and then a line for each step that led to it. Ends with a newline. */
export function explanationText({ name, type, rcode, records, steps }: Explanation): string {
  const sections = (['answer', 'authority', 'additional'] as const).flatMap(section => {
    const own = records.filter(record => record.section === section);
    return own.length === 0 ? [] : [`${section}:`, ...table(own)];
  });
  const why = steps.map(step => `  ${stepText(step)}`);
  return `${[`${name} ${type}: ${rcode}`, ...sections, 'because:', ...why].join('\n')}\n`;
}

function table(records: readonly PresentedRecord[]): readonly string[] {
  const rows = records.map(({ name, ttl, type, data }) => [name, String(ttl), type, data] as const);
  const width = (column: 0 | 1 | 2) => Math.max(...rows.map(row => row[column].length));
  const [names, ttls, types] = [width(0), width(1), width(2)];
  return rows.map(
    ([name, ttl, type, data]) => `  ${name.padEnd(names)}  ${ttl.padStart(ttls)}  ${type.padEnd(types)}  ${data}`,
  );
}

function stepText(step: ExplainStep): string {
  switch (step.kind) {
    case 'zone':
      return step.isSynced
        ? `the name is in our zone ${step.zone}`
        : `the name is in our zone ${step.zone}, and the cluster isn't known yet`;
    case 'outside':
      return `${rooted(step.name)} is in none of our zones`;
    case 'namespace':
      return step.exists ? `namespace ${step.namespace} exists` : `there is no namespace ${step.namespace}`;
    case 'no-service':
      return `there is no Service ${step.namespace}/${step.name}, or none with an address or an external name`;
    case 'service':
      return serviceText(step);
    case 'no-address':
      return `no Service has ${step.ip} as its cluster IP, or an endpoint there`;
    case 'pods':
      return PODS[step.pods];
    case 'nothing':
      if (!step.hasName) return 'there is no such name';
      return step.type === 'ANY'
        ? 'the name exists; whoever asks for all types at once gets none (RFC 8482)'
        : `the name exists, but has no record of type ${step.type}`;
    case 'transfer':
      return 'zones are not transferred';
    case 'kept':
      return `this reply was made ${ageText(step.ageMs)} ago, and nothing that it is about has changed since`;
    case 'cname':
      return `it is an alias of ${step.target}`;
    case 'fallthrough':
      return `zone ${step.zone} has no such name, and others are asked`;
    case 'cache':
      return `${rooted(step.name)} was asked of an upstream server ${ageText(step.ageMs)} ago`;
    case 'upstream':
      return `${rooted(step.name)}: ${step.server} said ${step.rcode} after ${Math.round(step.ms)} ms`;
    case 'stale':
      return `nobody has an answer for ${rooted(step.name)} now: this is the one before`;
    case 'loop':
      return `${step.servers === 1 ? 'the upstream server asks' : `all ${step.servers} upstream servers ask`} us: nobody is asked for ${rooted(step.name)}`;
    case 'no-upstream':
      return step.servers === 0
        ? `there is no upstream server to ask for ${rooted(step.name)}`
        : `none of ${step.servers} upstream servers has an answer for ${rooted(step.name)}`;
  }
}

const PODS = {
  disabled: 'addresses of pods have no names (pods: disabled)',
  insecure: 'every address has a name in a namespace that exists (pods: insecure)',
  verified: 'addresses that pods of the namespace have, and no others, have names (pods: verified)',
} as const;

function rooted(name: string): string {
  return name === '' ? '.' : name;
}

function serviceText(step: Extract<ExplainStep, { readonly kind: 'service' }>): string {
  const { namespace, name, serviceKind, clusterIPs, externalName, endpoints, isHidden } = step;
  const who = `Service ${namespace}/${name}`;
  if (serviceKind === 'external-name') return `${who} stands for ${externalName}`;
  const ready = `${endpoints} ready endpoint ${endpoints === 1 ? 'address' : 'addresses'}`;
  const what = serviceKind === 'headless' ? `${who} is headless` : `${who} has ${clusterIPs.join(' and ')}`;
  return isHidden ? `${what}, but no ready endpoint, and so no name` : `${what}, ${ready}`;
}

function ageText(ms: number): string {
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}
