import { type Configuration, type ConfigurationFields, configurationOf } from './config/configuration.ts';
import { watchConfiguration } from './config/configuration-watch.ts';
import type { ConfigurationFile, LoadedConfiguration } from './config/load.ts';
import type { Logger } from './log.ts';

export interface FollowOptions {
  readonly file: ConfigurationFile;
  /** What can change live, part by part: where one fails, the others have theirs. */
  readonly parts: readonly ((next: Configuration) => void | Promise<void>)[];
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** The configuration in effect, which follows its file. */
export class LiveConfiguration {
  #loaded: LoadedConfiguration;

  constructor(loaded: LoadedConfiguration) {
    this.#loaded = loaded;
  }

  get configuration(): Configuration {
    return this.#loaded.configuration;
  }

  get fields(): ConfigurationFields {
    return this.#loaded.fields;
  }

  /** Follows the file until disposal; what only a start puts into effect stays as it is. */
  follow({ file, parts, log, signal }: FollowOptions): Promise<AsyncDisposable> {
    return watchConfiguration({
      path: file.path,
      parse: file.parse,
      current: this.#loaded,
      onChange: async loaded => {
        this.#loaded = keepStartFields(this.#loaded, loaded);
        const { configuration } = this.#loaded;
        const results = await Promise.allSettled(parts.map(async configure => configure(configuration)));
        const errors = results.flatMap(result => (result.status === 'rejected' ? [result.reason as unknown] : []));
        if (errors.length > 0) throw new AggregateError(errors, errors.map(messageOf).join('; '));
      },
      log: log.child({ component: 'config' }),
      signal,
    });
  }
}

/** `next` with the values of the fields that take effect at the next start only: see field-effects.ts. */
export function keepStartFields(current: LoadedConfiguration, next: LoadedConfiguration): LoadedConfiguration {
  const { hostnameOverride, bindAddress, mode } = current.fields.kubeProxy;
  const fields = {
    kubeProxy: { ...next.fields.kubeProxy, hostnameOverride, bindAddress, mode },
    node: { ...next.fields.node, iptables: current.fields.node.iptables },
  };
  const { apiServer } = next.configuration;
  return {
    ...next,
    fields,
    configuration: { ...configurationOf(fields), ...(apiServer === undefined ? {} : { apiServer }) },
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
