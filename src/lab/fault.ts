/** Faults of a lab, made on purpose: of its API server, and of the network between a node and it. */
import { run } from '../linux/exec.ts';
import { beginApiFault, endApiFault } from './control.ts';
import type { ApiFault, ApiFaults } from './controlled-api.ts';
import { apiPort, namespaceOf, nodeLayout } from './layout.ts';

/** Between the API server and one node. */
export interface Partition {
  readonly node: string;
  /** `drop` (default): packets vanish, both ways, and open connections are half-open; `reset`: the node is told so at once. */
  readonly how?: 'drop' | 'reset';
}

/** Every kind of fault with its options. */
export interface Faults extends ApiFaults {
  readonly partition: Partition;
}

export type FaultKind = keyof Faults;

/** A fault that lasts until it is ended; those of a moment are over already. */
export class Fault implements AsyncDisposable {
  readonly #end: () => Promise<void>;
  #isOver = false;

  constructor(end: () => Promise<void>) {
    this.#end = end;
  }

  /** Idempotent. */
  async end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    await this.#end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

/** Resolves when the fault is in force. @throws when it can't be made */
export async function beginFault<K extends FaultKind>(lab: string, kind: K, options: Faults[K]): Promise<Fault> {
  if (kind === 'partition') return beginPartition(lab, options as Partition);
  const id = await beginApiFault(lab, { kind, options } as ApiFault);
  return new Fault(() => endApiFault(lab, id));
}

async function beginPartition(lab: string, { node, how = 'drop' }: Partition): Promise<Fault> {
  const { address } = nodeLayout(node);
  const tcp = ['-p', 'tcp'];
  const incoming = ['INPUT', '-s', address, ...tcp, '--dport', String(apiPort), '-j'];
  const outgoing = ['OUTPUT', '-d', address, ...tcp, '--sport', String(apiPort), '-j'];
  const rules =
    how === 'reset'
      ? [[...incoming, 'REJECT', '--reject-with', 'tcp-reset']]
      : [
          [...incoming, 'DROP'],
          [...outgoing, 'DROP'],
        ];
  const change = async (verb: '-I' | '-D') => {
    for (const rule of rules) await run('iptables-nft', [verb, ...rule], { netns: namespaceOf(lab, 'control') });
  };
  await change('-I');
  return new Fault(() => change('-D'));
}
