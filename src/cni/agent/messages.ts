/** What the daemon's main thread and the agent's say to each other: plain data. */
import type { Lease } from '../ipam/lease.ts';
import type { FreeOutcome, FreeRequest } from '../ipam/routes.ts';
import type { RulesKind } from '../rules/choosing.ts';
import type { HostPort, PodName } from '../types.ts';
import type { Shadowed } from './listening.ts';
import type { AgentSettings } from './parts.ts';

/** What the agent begins with. */
export interface AgentData {
  readonly socketPath: string;
  readonly deferredDirectory: string;
  readonly stateDirectory: string;
  /** Of this boot of the machine; absent: the kernel's. */
  readonly bootId?: string;
  /** Where rules are written; absent: as the kernel allows. */
  readonly rules?: RulesKind;
  readonly settings: AgentSettings;
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

/** The hostPorts that an attachment has; none = it has them no more. */
export interface HeldPorts {
  /** `attachmentKey` */
  readonly key: string;
  readonly pod: PodName;
  readonly hostPorts: readonly HostPort[];
  /** Programs of the node that get nothing there any more. */
  readonly listeners: readonly Shadowed[];
}

export type Level = 'info' | 'warn' | 'error';

export type FromAgent =
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly message: string }
  /** It serves; or why it can't. */
  | { readonly kind: 'started' }
  | { readonly kind: 'ports'; readonly ports: HeldPorts }
  | { readonly kind: 'failed'; readonly message: string }
  | {
      readonly kind: 'log';
      readonly level: Level;
      readonly fields: Readonly<Record<string, unknown>>;
      readonly message: string;
    };
