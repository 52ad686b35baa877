import { toolsOf } from '../../../../src/backends/iptables/tools.ts';
import type { Output, RunOptions } from '../../../../src/linux/exec.ts';
import { FakeIptables } from '../../../fakes/iptables.ts';

/** The old iptables of both families. */
export class IptablesKernel {
  readonly IPv4 = new FakeIptables(toolsOf('legacy', 'IPv4'));
  readonly IPv6 = new FakeIptables(toolsOf('legacy', 'IPv6'));
  /** What the programs print, as another version of them would. */
  prints: (text: string) => string = text => text;

  readonly run = async (file: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Output> => {
    const output = await (file.startsWith('ip6') ? this.IPv6 : this.IPv4).run(file, args, options);
    return { ...output, stdout: this.prints(output.stdout) };
  };

  /** Restores so far. */
  get restores(): number {
    return this.IPv4.restores.length + this.IPv6.restores.length;
  }

  /** Lines of ours. */
  own(family: 'IPv4' | 'IPv6'): readonly string[] {
    const text = ['filter', 'nat'].map(table => this[family].save(table)).join('');
    return text.split('\n').filter(line => line.includes('KPROXY-CNI-'));
  }
}
