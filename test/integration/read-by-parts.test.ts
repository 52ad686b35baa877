/** A start where another program wrote with nft what iptables-nft-save cannot print: it must not wait for that to go. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { masqueradeBitOf } from '../../src/backends/iptables/shared-rules.ts';
import { toolsOf } from '../../src/backends/iptables/tools.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { type RunOptions, run } from '../../src/linux/exec.ts';
import { createLogger } from '../../src/log.ts';
import type { IPFamily } from '../../src/watch/objects.ts';
import { backendOf, clusterOf, differences, startKernelLoop } from './kernel-loop.ts';
import { describeUnless } from './requires.ts';

const NETNS = `kpx-parts-${process.pid}`;
const inNetns = (file: string, args: readonly string[] = [], options: RunOptions = {}) =>
  run(file, args, { ...options, netns: NETNS });
const nft = async (...words: string[]) => (await inNetns('nft', words)).stdout;

const FAMILIES = [
  ['IPv4', 'ip'],
  ['IPv6', 'ip6'],
] as const;

/** What kube-proxy left of a Service that is gone. */
const KUBE_PROXY = `*filter
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-NODEPORTS - [0:0]
-A KUBE-NODEPORTS -p tcp -m tcp --dport 32000 -j ACCEPT
COMMIT
`;

const MASQUERADE = ['oifname', '{ eth7, eth8 }', 'masquerade'];
const DROP = ['ct', 'state', 'vmap', '{ invalid : drop }'];

function ioOf(family: IPFamily) {
  const lines: string[] = [];
  const log = createLogger({ level: 'info', destination: { write: line => void lines.push(JSON.parse(line).msg) } });
  return { tools: toolsOf('nft', family), run: inNetns, log, lines };
}

/** Takes the one foreign rule out of a chain such as `ip nat POSTROUTING`; fails when it isn't there. */
async function removeForeign(chain: string): Promise<void> {
  const lines = (await nft('-a', 'list', 'chain', ...chain.split(' '))).split('\n');
  const theirs = lines.filter(line => /eth7|vmap/.test(line));
  expect(theirs).toHaveLength(1);
  await nft('delete', 'rule', ...chain.split(' '), 'handle', theirs[0]?.split(' ').at(-1) ?? '');
}

describeUnless(await obstacle(), 'a table that iptables-nft-save cannot print', () => {
  beforeEach(async () => {
    await run('ip', ['netns', 'add', NETNS]);
  });
  afterEach(async () => {
    await run('ip', ['netns', 'del', NETNS]);
  });

  it.each(FAMILIES)('%s: a start takes over what an earlier one left, and changes go on', async (family, nftFamily) => {
    const io = ioOf(family);
    const earlier = startKernelLoop(io);
    await earlier.set(clusterOf(family, { services: 3 }));
    await earlier.loop.close();
    await inNetns(io.tools.restore, ['--noflush'], { input: KUBE_PROXY });
    await inNetns(io.tools.program, ['-t', 'nat', '-F', 'KUBE-MARK-MASQ']);
    await inNetns(io.tools.program, ['-t', 'nat', '-F', 'OUTPUT']);
    await nft('insert', 'rule', nftFamily, 'nat', 'POSTROUTING', ...MASQUERADE);
    await nft('insert', 'rule', nftFamily, 'filter', 'FORWARD', ...DROP);
    await nft('add', 'chain', nftFamily, 'nat', 'native', '{ type nat hook postrouting priority 90; }');
    await nft('add', 'rule', nftFamily, 'nat', 'native', ...MASQUERADE);
    for (const table of ['nat', 'filter']) {
      expect((await inNetns(io.tools.save, ['-t', table])).stdout).toMatch(/^# Table `\w+' is incompatible/);
    }

    const { loop, set, errors } = startKernelLoop(io);
    // The third Service is gone, the first has other endpoints.
    const unread = { name: 'UnreadableError' };
    const first = await set(clusterOf(family, { services: 2, revision: 1 }));
    expect(first).toMatchObject({ cause: 'start', failures: [], repaired: [], unread });
    const second = clusterOf(family, { services: 4 });
    expect(await set(second)).toMatchObject({ cause: 'change', failures: [], repaired: [] });
    await loop.close();
    expect(errors).toEqual([]);
    expect(io.lines.filter(line => line.includes('read by parts'))).toHaveLength(1);

    const foreign = [`${nftFamily} nat POSTROUTING`, `${nftFamily} nat native`, `${nftFamily} filter FORWARD`];
    for (const name of foreign) await removeForeign(name);
    await nft('delete', 'chain', nftFamily, 'nat', 'native');
    // Now that all can be read: every rule is there, once, and nothing else of ours or of kube-proxy's.
    expect(await differences(io, second)).toEqual([]);
  });

  it.each(FAMILIES)(
    '%s: every stale chain goes at once, and what we have not changed is the same',
    async (family, nftFamily) => {
      const io = ioOf(family);
      const earlier = startKernelLoop(io);
      await earlier.set(clusterOf(family, { services: 3 }));
      await earlier.loop.close();
      await nft('insert', 'rule', nftFamily, 'nat', 'POSTROUTING', ...MASQUERADE);
      const backend = backendOf(io);
      // What dump asks for.
      await expect(backend.read()).rejects.toMatchObject({ name: 'UnreadableError' });
      // What a packet was marked with before the start must be known, so that it is masqueraded after it.
      expect(masqueradeBitOf(await backend.readByParts())).toBe(14);
      const cluster = clusterOf(family, { services: 2 });
      const { loop, set } = startKernelLoop(io);
      expect(await set(cluster)).toMatchObject({ cause: 'start', failures: [] });
      await loop.close();
      await removeForeign(`${nftFamily} nat POSTROUTING`);
      expect(await differences(io, cluster)).toEqual([]);
    },
  );

  it.each(FAMILIES)('%s: a first start, where all that there is was made with nft', async (family, nftFamily) => {
    const io = ioOf(family);
    await nft('add', 'table', nftFamily, 'nat');
    await nft('add', 'chain', nftFamily, 'nat', 'POSTROUTING', '{ type nat hook postrouting priority 100; }');
    await nft('add', 'rule', nftFamily, 'nat', 'POSTROUTING', ...MASQUERADE);
    const cluster = clusterOf(family, { services: 2 });
    const { loop, set } = startKernelLoop(io);
    expect(await set(cluster)).toMatchObject({ cause: 'start', failures: [], unread: { name: 'UnreadableError' } });
    await loop.close();
    await removeForeign(`${nftFamily} nat POSTROUTING`);
    expect(await differences(io, cluster)).toEqual([]);
  });

  it('a rule that only nft can print, in a chain of ours that must be read: the start waits for it to go', async () => {
    const io = ioOf('IPv4');
    const earlier = startKernelLoop(io);
    await earlier.set(clusterOf('IPv4', { services: 1 }));
    await earlier.loop.close();
    await nft('insert', 'rule', 'ip', 'nat', 'KUBE-SERVICES', 'ct', 'state', 'vmap', '{ invalid : drop }');
    const { loop, set, next } = startKernelLoop(io);
    await expect(set(clusterOf('IPv4', { services: 2 }))).rejects.toMatchObject({
      name: 'UnreadableError',
      message: expect.stringMatching(/cannot print the table nat: .*; nor can it be read by parts: .*KUBE-SERVICES/),
    });
    await inNetns('iptables-nft', ['-t', 'nat', '-F', 'KUBE-SERVICES']);
    // One look may have been under way.
    expect(await next().catch(next)).toMatchObject({ cause: 'start', failures: [] });
    await loop.close();
    expect(await differences(io, clusterOf('IPv4', { services: 2 }))).toEqual([]);
  });
});
