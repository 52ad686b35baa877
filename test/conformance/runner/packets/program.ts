/** The product's data plane in a network namespace, as the process there is asked for it. */
import type { Configuration } from '../../../../src/config/configuration.ts';
import type { IPFamily } from '../../../../src/net/ip.ts';
import type { Store } from '../../../../src/watch/store.ts';
import type { NodeConfig, Step } from '../packetflow.ts';

export interface ProgramOptions {
  readonly families: readonly IPFamily[];
  readonly configuration: Configuration;
  readonly nodeName: string;
  /** Complete: what is in it is to be programmed. */
  readonly store: Store;
}

export interface Program {
  /** Resolves when the kernel has what the store holds. Rejects when that failed, or an object was refused. */
  settled(): Promise<void>;
  /** Our objects as the kernel has them, one a line. */
  contents(): Promise<readonly string[]>;
  /** Makes every client a new one, for session affinity. */
  forgetClients(): Promise<void>;
  /** Ends it; the rules stay. */
  close(): Promise<void>;
}

export interface StartParams {
  readonly backend: string;
  readonly node: NodeConfig;
  readonly objects: readonly unknown[];
}

export type StepParams = Pick<Step, 'delete' | 'apply'>;
