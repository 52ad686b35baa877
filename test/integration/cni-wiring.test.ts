import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from 'vitest';
import { obstacle } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { describeUnless } from './requires.ts';

const CASES: Record<string, string> = {
  A02: 'the kernel has what the result says',
  A03: 'a gateway without a default route, and neither',
  A05: 'dual stack and IPv6 alone, usable at once',
  A06: 'routes with their gateway, priority, table, scope, MTU and MSS',
  A07: 'the MTU, of both ends and of a bridge that is made',
  A08: 'the MAC, given when the ends are made',
  A09: 'VLANs, or a word that the kernel has none',
  A11: 'hairpin, promiscuous bridge, isolated ports',
  A12: "a pod's end that stays down",
  A13: 'the same attachment twice: the second is refused, the first untouched',
  A15: "somebody else's interface of the name stays",
  A16: 'a bridge that is there is used, and keeps its index and MAC',
  A17: 'a bridge with another address',
  A18: 'the first packet is answered',
  C01: 'limits of both directions, with a burst that makes sense, and nothing left of them',
  D01: 'nothing is left but the bridge, however often it is removed',
  D02: 'the namespace is gone already',
  D03: 'the namespace lives and is not named',
  D04: "another's link is not touched",
  D08: 'whatever the pod did with its end',
  E09: "no namespace, a file, the host's namespace",
  E13: "the bridge's name is another link's",
  K03: 'check finds what is missing (and K04)',
  K06: 'check accepts what others added',
  F11: 'any step fails: an error, and nothing left',
  adopts: 'a pod is known by its namespace, not by the numbers of its links',
  many: 'a hundred at once, without a descriptor left open',
};

describeUnless(await obstacle(), "wiring of pods' links over the real kernel", () => {
  let found: Record<string, readonly string[]> = {};

  beforeAll(async () => {
    const script = fileURLToPath(new URL('./cni-wiring-main.ts', import.meta.url));
    const shell = 'mount -t tmpfs none /run && ip link set lo up && exec "$@"';
    const args = ['--net', '--mount', 'sh', '-c', shell, 'sh', process.execPath, script];
    found = JSON.parse((await run('unshare', args, { timeoutMs: 100_000 })).stdout);
  }, 110_000);

  for (const [name, title] of Object.entries(CASES)) {
    it(`${name} ${title}`, () => {
      expect(found[name]).toEqual([]);
    });
  }
});
