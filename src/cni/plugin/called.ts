/**
 * As what the program is called: a runtime executes the file that `type` names; a plugin that makes the interface, the one that
 * `ipam.type` names, with the same configuration (the specification's sections 1 and 4). The file may have any name.
 */
import type { Configuration } from '../spec/configuration.ts';
import type { Verb } from '../spec/environment.ts';
import { isObject } from '../spec/json.ts';
import { CniError, CODE } from '../types.ts';

/** Means us whatever the file is called: a wrapper may have run it. */
const OWN_NAME = 'kproxy-cni';

export interface Called {
  /** The name of the file, with its path. */
  readonly program: string;
  readonly verb: Verb;
}

/**
 * The configuration with our own name in the place by which the program was called, and `ipam.type` ours where it is the program's
 * name: it would execute itself. A DEL that names nobody of us is done with a warning. @throws CniError 7
 */
export function asCalled(configuration: Configuration, { program, verb }: Called): Configuration {
  const name = program.slice(program.lastIndexOf('/') + 1) || OWN_NAME;
  const { type, ipamType } = configuration;
  const isPlugin = type === name || (ipamType !== name && type === OWN_NAME);
  const own = ipamType === name ? withOwnIpam(configuration) : configuration;
  if (isPlugin) return { ...own, type: OWN_NAME, isDelegated: false };
  if (own.ipamType === OWN_NAME) return { ...own, isDelegated: true };
  const problem = type === '' ? 'type: is missing' : `type: ${JSON.stringify(type)} is not this program, ${name}`;
  if (verb !== 'DEL')
    throw new CniError(CODE.badConfiguration, problem, `nor is ipam.type ${JSON.stringify(ipamType)}`);
  return { ...own, warnings: [...own.warnings, `${problem}; deleted all the same`] };
}

function withOwnIpam(configuration: Configuration): Configuration {
  const { config } = configuration;
  const { ipam } = config;
  return {
    ...configuration,
    ipamType: OWN_NAME,
    config: { ...config, ...(isObject(ipam) ? { ipam: { ...ipam, type: OWN_NAME } } : {}) },
  };
}
