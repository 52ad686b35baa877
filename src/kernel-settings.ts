import type { KernelFacts } from './backends/node-options.ts';
import type { Configuration } from './config/configuration.ts';
import { localnetSysctl } from './conntrack/settings.ts';
import { loadConntrack } from './linux/conntrack.ts';
import { conntrackSettings, isConntrackLiberal, settingsWriter } from './linux/sysctl.ts';
import type { Logger } from './log.ts';

/** What the configuration asks of the kernel beside rules, and what of the kernel's own settings the rules depend on. */
export class KernelSettings {
  readonly #write: ReturnType<typeof settingsWriter>;
  readonly #writeLocalnet: ReturnType<typeof settingsWriter>;
  #facts: KernelFacts = { isConntrackLiberal: false };

  constructor(log: Logger) {
    this.#write = settingsWriter({ log, load: loadConntrack });
    this.#writeLocalnet = settingsWriter({ log });
  }

  /** As of the last `set`. */
  get facts(): KernelFacts {
    return this.#facts;
  }

  /**
   * Lets packets from 127.0.0.0/8 be routed, as NodePorts there need it: only once the rules are there that keep the network away from what listens
   * there. It stays, as they do: others may need it too.
   */
  async allowLocalnet(): Promise<void> {
    await this.#writeLocalnet(localnetSysctl(true));
  }

  /** Makes the settings but that of `allowLocalnet`. What can't be made is named in a warning, and no reason not to go on. */
  async set(configuration: Configuration): Promise<void> {
    await this.#write(conntrackSettings(configuration.conntrack));
    this.#facts = { isConntrackLiberal: await isConntrackLiberal() };
  }
}
