/** What the daemon's main thread and the agent's say to each other: plain data. */
import type { Lease } from '../ipam/lease.ts';
import type { FreeOutcome, FreeRequest } from '../ipam/routes.ts';
import type { RulesKind } from '../rules/choosing.ts';
import type { AgentSettings } from './parts.ts';

/** What the agent begins with. */
export interface AgentData {
  readonly socketPath: string;
  readonly deferredDirectory: string;
  readonly stateDirectory: string;
  readonly settings: AgentSettings;
  /** Where rules are kept, whatever the kernel has: for tests. */
  readonly rules?: RulesKind;
}

export interface AgentReadings {
  /** Attachments that the store has. */
  readonly attachments: number;
  /** By `ADD ok`, `ADD 11` …: requests answered. */
  readonly requests: Readonly<Record<string, number>>;
  /** Seconds, by verb: the sum of what its requests took. */
  readonly seconds: Readonly<Record<string, number>>;
  /** Bytes of the agent's own heap in use. */
  readonly heapBytes: number;
}

/** What the agent does, and says that it's done. */
export interface AgentCalls {
  list(): readonly Lease[];
  free(request: FreeRequest): Promise<FreeOutcome>;
  readings(): AgentReadings;
  /** Answers what was asked, takes nothing more, and has everything on disk. */
  stop(): Promise<void>;
}

export type ToAgent =
  | { readonly kind: 'settings'; readonly settings: AgentSettings }
  | {
      readonly kind: 'call';
      readonly id: number;
      readonly method: keyof AgentCalls;
      readonly args: readonly unknown[];
    };

export type Level = 'info' | 'warn' | 'error';

export type FromAgent =
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly message: string }
  /** It serves; or why it can't. */
  | { readonly kind: 'started' }
  | { readonly kind: 'failed'; readonly message: string }
  | {
      readonly kind: 'log';
      readonly level: Level;
      readonly fields: Readonly<Record<string, unknown>>;
      readonly message: string;
    };
