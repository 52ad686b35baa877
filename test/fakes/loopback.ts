import type { Loopback } from '../../src/dns/node-address/node-addresses.ts';

/** The addresses on `lo`: ours, and those that were there before. */
export class FakeLoopback implements Loopback {
  readonly foreign = new Set<string>();
  readonly ours = new Set<string>();

  async add(ip: string): Promise<void> {
    if (!this.foreign.has(ip)) this.ours.add(ip);
  }

  async remove(ip: string): Promise<void> {
    this.ours.delete(ip);
  }

  async own(): Promise<readonly string[]> {
    return [...this.ours];
  }
}
