/**
 * Who was where is kept by the kernel in a list per endpoint, which lives as long as a rule refers to it. So whatever we write while an
 * endpoint stays must never leave the kernel, at a commit, without such a rule: with real lists of both variants and families.
 */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { diff } from '../../src/backends/diff.ts';
import { createIptablesBackend } from '../../src/backends/iptables/backend.ts';
import { endpointChain } from '../../src/backends/iptables/names.ts';
import { toolsOf } from '../../src/backends/iptables/tools.ts';
import { planAll } from '../../src/backends/route-changes.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { type RunOptions, run } from '../../src/linux/exec.ts';
import type { Service } from '../../src/watch/objects.ts';
import { IPTABLES_OPTIONS, IPTABLES_OPTIONS_V6, service, slice, sliceEndpoint, snapshot } from '../fakes/objects.ts';
import { describeUnless } from './requires.ts';

const NETNS = `kpx-recent-${process.pid}`;
const inNetns = (file: string, args: readonly string[] = [], options: RunOptions = {}) =>
  run(file, args, { ...options, netns: NETNS });

const FAMILIES = {
  IPv4: { options: IPTABLES_OPTIONS, clusterIP: '10.96.0.10', pod: '10.244.1.', client: '192.0.2.100' },
  IPv6: { options: IPTABLES_OPTIONS_V6, clusterIP: 'fd00:10:96::10', pod: 'fd00:10:244:1::', client: '2001:db8::100' },
} as const;

const lacking = await obstacle();

describeUnless(lacking, 'the lists of session affinity', () => {
  beforeEach(async () => {
    await run('ip', ['netns', 'add', NETNS]);
  });
  afterEach(async () => {
    await run('ip', ['netns', 'del', NETNS]);
  });

  for (const variant of ['nft', 'legacy'] as const) {
    for (const family of ['IPv4', 'IPv6'] as const) {
      it(`outlive every change that their endpoint outlives: ${variant}, ${family}`, async () => {
        const { options, clusterIP, pod, client } = FAMILIES[family];
        const node = { name: 'node-a', zone: '' };
        let used: Parameters<typeof createIptablesBackend>[0] = () => options;
        const tools = toolsOf(variant, family);
        const backend = createIptablesBackend(() => used(), { tools, run: inNetns });
        const program = async (fields: Partial<Service>, hosts: readonly number[]) => {
          const services = [service({ clusterIPs: [clusterIP], affinityTimeoutSeconds: 90, ...fields })];
          const endpoints = hosts.map(host => sliceEndpoint(`${pod}${host}`, { nodeName: 'node-a' }));
          const snap = snapshot(services, [slice({ family, endpoints })]);
          const model = updateModel(emptyModel(family, node), snap, snap.services.keys(), node);
          const before = await backend.read();
          const { failures } = await backend.apply(diff(before, planAll(backend, model)), before);
          expect(failures).toEqual([]);
        };
        const endpoint = family === 'IPv6' ? `[${pod}2]:8080` : `${pod}2:8080`;
        const chain = endpointChain('default/web:http', 'TCP', endpoint);
        const path = `/proc/net/xt_recent/${chain}`;
        const seen = async () => {
          const { stdout } = await inNetns('cat', [path]);
          return stdout.split('\n').filter(line => line !== '').length;
        };
        await program({}, [2, 3]);
        await inNetns('sh', ['-c', `echo +${client} > ${path}`]);
        expect(await seen()).toBe(1);

        await program({}, [2, 3, 4]);
        await program({}, [2]);
        await program({ affinityTimeoutSeconds: 3600 }, [2, 3]);
        await program({ externalTrafficPolicy: 'Local', externalIPs: ['192.0.2.1'] }, [2, 3]);
        await program({ internalTrafficPolicy: 'Local' }, [2, 3]);
        used = () => ({ ...options, masqueradeAll: true });
        await program({}, [2, 3]);
        // Somebody empties the endpoint's chain; the rule that looks the list up still holds it.
        await inNetns(tools.restore, ['--noflush'], { input: `*nat\n:${chain} - [0:0]\nCOMMIT\n` });
        await program({}, [2, 3]);
        expect(await seen()).toBe(1);

        await program({}, [3]);
        expect((await inNetns('ls', ['/proc/net/xt_recent'])).stdout).not.toContain(chain);
      });
    }
  }
});
