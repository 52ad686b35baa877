import { hasLocalhostNodePorts, type KernelFacts } from './backends/iptables/options.ts';
import type { Configuration } from './config/configuration.ts';
import { localnetSysctl } from './conntrack/settings.ts';
import { loadConntrack } from './linux/conntrack.ts';
import { conntrackSettings, isConntrackLiberal, settingsWriter } from './linux/sysctl.ts';
import type { Logger } from './log.ts';

/** What the configuration asks of the kernel beside rules, and what of the kernel's own settings the rules depend on. */
export class KernelSettings {
  readonly #write: ReturnType<typeof settingsWriter>;
  #facts: KernelFacts = { isConntrackLiberal: false };

  constructor(log: Logger) {
    this.#write = settingsWriter({ log, load: loadConntrack });
  }

  /** As of the last `set`. */
  get facts(): KernelFacts {
    return this.#facts;
  }

  /** Makes the settings. What can't be made is named in a warning, and no reason not to go on. */
  async set(configuration: Configuration): Promise<void> {
    const localnet = localnetSysctl(hasLocalhostNodePorts(configuration));
    await this.#write([...conntrackSettings(configuration.conntrack), ...localnet]);
    this.#facts = { isConntrackLiberal: await isConntrackLiberal() };
  }
}
