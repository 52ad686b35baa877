/**
 * conf/<bridge>/route_localnet: connections from 127.0.0.1 to a hostPort leave by the bridge with that source until they are masqueraded.
 * On only while some pod behind the bridge has a hostPort, and as before then.
 */
import { readNetSysctl, writeNetSysctl } from '../../linux/netns.ts';
import type { Logger } from '../../log.ts';

export interface LocalnetOptions {
  readonly needed: () => ReadonlySet<string>;
  readonly log: Pick<Logger, 'error'>;
  readonly read?: (name: string) => string;
  readonly write?: (name: string, value: string) => void;
}

export class Localnet {
  readonly #options: LocalnetOptions;
  /** Those that we switched on. */
  readonly #ours = new Set<string>();

  constructor(options: LocalnetOptions) {
    this.#options = options;
  }

  /** An agent before us switched these on; who needs them still has them. */
  inherit(bridges: Iterable<string>): void {
    for (const bridge of bridges) if (this.#read(bridge) === '1') this.#ours.add(bridge);
  }

  /** Makes the settings what the rules need. One that can't be made is in the log. */
  follow(): void {
    const needed = this.#options.needed();
    for (const bridge of needed) {
      if (this.#read(bridge) !== '0') continue;
      if (this.#write(bridge, '1')) this.#ours.add(bridge);
    }
    for (const bridge of this.#ours) {
      if (!needed.has(bridge) && this.#write(bridge, '0')) this.#ours.delete(bridge);
    }
  }

  /** Where it is off though it is needed, as sentences. */
  problems(): readonly string[] {
    const off = [...this.#options.needed()].filter(bridge => this.#read(bridge) === '0');
    return off.map(bridge => `net.ipv4.conf.${bridge}.route_localnet is off`);
  }

  /** undefined where the bridge is gone, and its settings with it. */
  #read(bridge: string): string | undefined {
    try {
      return (this.#options.read ?? readNetSysctl)(nameOf(bridge));
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  #write(bridge: string, value: string): boolean {
    try {
      (this.#options.write ?? writeNetSysctl)(nameOf(bridge), value);
      return true;
    } catch (error) {
      if (isGone(error)) return true;
      this.#options.log.error(
        { err: error, bridge },
        'route_localnet can not be set: hostPorts are not reached from 127.0.0.1',
      );
      return false;
    }
  }
}

const nameOf = (bridge: string) => `ipv4/conf/${bridge}/route_localnet`;

const isGone = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'ENOENT';
