import { fail } from 'node:assert';
import { describe, expect, it } from 'vitest';
import { diff } from '../../../../src/backends/diff.ts';
import { createIptablesBackend } from '../../../../src/backends/iptables/backend.ts';
import { removeEverywhere, removeFamily, removeLeftovers } from '../../../../src/backends/iptables/removal.ts';
import { toolsOf } from '../../../../src/backends/iptables/tools.ts';
import { planAll, plannedObjects } from '../../../../src/backends/route-changes.ts';
import { emptyModel, updateModel } from '../../../../src/endpoints/model.ts';
import { createLogger } from '../../../../src/log.ts';
import type { EndpointSlice, Service } from '../../../../src/watch/objects.ts';
import { FakeIptables } from '../../../fakes/iptables.ts';
import { IPTABLES_OPTIONS, service, slice, sliceEndpoint, snapshot } from '../../../fakes/objects.ts';

const node = { name: 'node-a', zone: '' };

/** A backend over the fake kernel; `to` takes it to a cluster and returns the tables of the calls that this took. */
function start(kernel: FakeIptables) {
  const backend = createIptablesBackend(() => IPTABLES_OPTIONS, kernel.io);
  const plan = (services: Service[], slices: EndpointSlice[]) => {
    const snap = snapshot(services, slices);
    return planAll(backend, updateModel(emptyModel('IPv4', node), snap, snap.services.keys(), node));
  };
  const to = async (services: Service[], slices: EndpointSlice[]) => {
    const before = kernel.restores.length;
    const current = await backend.read();
    const { failures } = await backend.apply(diff(current, plan(services, slices)), current);
    const calls = kernel.restores.slice(before).map(text => text.match(/^\*\w+/gm)?.join(' '));
    return { calls, failures: failures.map(({ key }) => key) };
  };
  return { backend, to };
}

const legacy = () => new FakeIptables(toolsOf('legacy', 'IPv4'));
const many = Array.from({ length: 300 }, (_, i) => i);
const services = many.map(i => service({ name: `s${i}`, clusterIPs: [`10.96.${1 + (i >> 8)}.${i & 255}`] }));
const endpoints = Array.from({ length: 10 }, (_, i) => sliceEndpoint(`10.244.1.${i + 1}`));
const slices = many.map(i => slice({ name: `s${i}-1`, serviceName: `s${i}`, endpoints }));

describe('applying to iptables-legacy', () => {
  it('sends a full load in one call a table, where nft takes several', async () => {
    expect(await start(legacy()).to(services, slices)).toEqual({ calls: ['*filter', '*nat'], failures: [] });
    const { calls } = await start(new FakeIptables()).to(services, slices);
    expect(calls.filter(tables => tables === '*nat').length).toBeGreaterThan(3);
  });

  it('refuses before the entry goes, and goes on refusing until the entry is there', async () => {
    const { to } = start(legacy());
    await to([service()], [slice()]);
    expect(await to([service()], [])).toEqual({ calls: ['*filter', '*nat'], failures: [] });
    expect(await to([service()], [slice()])).toEqual({ calls: ['*nat', '*filter'], failures: [] });
    const other = service({ name: 'other', clusterIPs: ['10.96.0.11'] });
    const otherSlice = slice({ name: 'other-1', serviceName: 'other' });
    await to([service(), other], [slice()]);
    expect(await to([service(), other], [otherSlice])).toEqual({ calls: ['*filter', '*nat', '*filter'], failures: [] });
  });

  it('makes one call for an endpoint that changes', async () => {
    const { to } = start(legacy());
    await to([service()], [slice()]);
    const moved = slice({ endpoints: [sliceEndpoint('10.244.1.9')] });
    expect(await to([service()], [moved])).toEqual({ calls: ['*nat'], failures: [] });
  });

  it('leaves out only what the kernel refuses', async () => {
    const kernel = legacy();
    kernel.refuse.add('10.96.1.7/32');
    const { failures } = await start(kernel).to(services, slices);
    // Both what hands its address to its endpoints and the chain that looks at the address.
    expect(failures.length).toBeGreaterThan(0);
    for (const key of failures) expect(key).toMatch(/10\.96\.1\.7|^KUBE-SVC-/);
    expect(kernel.save('nat')).toContain('10.96.1.8/32');
  });

  it('waits for the lock as if nothing were', async () => {
    const kernel = legacy();
    kernel.lockedCalls = 4;
    expect(await start(kernel).to([service()], [slice()])).toEqual({ calls: ['*filter', '*nat'], failures: [] });
  });
});

describe('loading iptables-legacy from nothing', () => {
  const load = async (kernel: FakeIptables) => {
    const backend = createIptablesBackend(() => IPTABLES_OPTIONS, kernel.io);
    const snap = snapshot([...services, service({ name: 'idle', clusterIPs: ['10.96.9.9'] })], slices);
    const model = updateModel(emptyModel('IPv4', node), snap, snap.services.keys(), node);
    const wanted = planAll(backend, model);
    const { plan, failures } = (await backend.load?.(plannedObjects(backend, model))) ?? fail('no load');
    return { backend, wanted, plan, failures };
  };

  it('is what the nft variant has no use for', () => {
    expect(createIptablesBackend(() => IPTABLES_OPTIONS, new FakeIptables().io).load).toBeUndefined();
  });

  it('leaves what applying would leave, and the kernel holds it', async () => {
    const kernel = legacy();
    const { backend, wanted, plan, failures } = await load(kernel);
    expect(failures).toEqual([]);
    expect(plan).toEqual(wanted);
    expect(await backend.read()).toEqual(wanted);
    expect(kernel.restores.map(text => text.match(/^\*\w+/gm)?.join(' '))).toEqual(['*nat', '*filter']);
    expect(kernel.save('filter')).toContain('-d 10.96.9.9/32');
  });

  it('sends all of it again when an older tool gave up waiting for the lock', async () => {
    const kernel = legacy();
    kernel.lockedCalls = 3;
    const { backend, wanted } = await load(kernel);
    expect(await backend.read()).toEqual(wanted);
  });

  it('leaves out only what the kernel refuses', async () => {
    const kernel = legacy();
    kernel.refuse.add('10.96.1.7/32').add('10.96.9.9/32');
    const { backend, plan, failures } = await load(kernel);
    for (const { key } of failures) expect(key).toMatch(/10\.96\.(1\.7|9\.9)|^KUBE-SVC-/);
    expect(failures.filter(({ key }) => key.startsWith('filter/'))).toHaveLength(1);
    expect(kernel.save('nat')).toContain('10.96.1.8/32');
    expect(await backend.read()).toEqual(plan);
  });

  it('rejects when the tool is missing', async () => {
    const kernel = legacy();
    kernel.isMissing = true;
    await expect(load(kernel)).rejects.toThrow('no such program');
  });
});

describe('a jump to KUBE-NODEPORTS that is not last', () => {
  it('is put back to the end', async () => {
    const kernel = new FakeIptables();
    const { to } = start(kernel);
    await to([service()], [slice()]);
    const entry = '-A KUBE-SERVICES -d 10.0.0.1/32 -p tcp -m comment --comment "x" -j RETURN';
    await kernel.run('iptables-nft-restore', ['--noflush'], { input: `*nat\n${entry}\nCOMMIT\n` });
    const other = service({ name: 'other', clusterIPs: ['10.96.0.11'] });
    await to([service(), other], [slice(), slice({ name: 'other-1', serviceName: 'other' })]);
    const chain = kernel
      .save('nat')
      .split('\n')
      .filter(line => line.startsWith('-A KUBE-SERVICES '));
    expect(chain.filter(line => line.endsWith('-j KUBE-NODEPORTS'))).toHaveLength(1);
    expect(chain.at(-1)).toMatch(/-j KUBE-NODEPORTS$/);
    expect((await to([service(), other], [slice(), slice({ name: 'other-1', serviceName: 'other' })])).calls).toEqual(
      [],
    );
  });
});

describe('removal', () => {
  const foreign = '*nat\n:OTHERS - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n-A PREROUTING -j OTHERS\nCOMMIT\n';

  /** A node with some of the programs, each over its own kernel. */
  function nodeWith(kernels: readonly FakeIptables[]) {
    const lines: string[] = [];
    const log = createLogger({ level: 'info', destination: { write: line => void lines.push(JSON.parse(line).msg) } });
    const missing = new FakeIptables();
    missing.isMissing = true;
    const run: FakeIptables['run'] = (file, args, options) => {
      const owner = kernels.find(({ io }) => file === io.tools.save || file === io.tools.restore);
      return (owner ?? missing).run(file, args, options);
    };
    return { run, log, lines };
  }

  it('takes ours out of the variant that is not used, and leaves the rest of it', async () => {
    const [used, left] = [new FakeIptables(), legacy()];
    for (const kernel of [used, left]) await start(kernel).to([service()], [slice()]);
    await left.run(left.io.tools.restore, ['--noflush'], { input: foreign });
    const before = used.save('nat');
    const { run, log, lines } = nodeWith([used, left]);
    await removeLeftovers({ tools: used.io.tools, run, log });
    expect(used.save('nat')).toBe(before);
    expect(left.save('nat').match(/KUBE-\S+|OTHERS/g)).toEqual(['OTHERS', 'KUBE-KUBELET-CANARY', 'OTHERS']);
    expect(lines).toEqual([
      expect.stringMatching(/^\d+ rules and chains of ours were left in iptables-legacy: removed$/),
    ]);
    await removeLeftovers({ tools: used.io.tools, run, log });
    expect(lines).toHaveLength(1);
  });

  it('has nothing to do where the other variant is not installed', async () => {
    const { run, log, lines } = nodeWith([new FakeIptables()]);
    await removeLeftovers({ tools: toolsOf('nft', 'IPv4'), run, log });
    expect(lines).toEqual([]);
  });

  it('says what it cannot remove', async () => {
    const left = legacy();
    await start(left).to([service()], [slice()]);
    const mine = '*nat\n:MINE - [0:0]\n-A MINE -j KUBE-NODEPORTS\nCOMMIT\n';
    await left.run(left.io.tools.restore, ['--noflush'], { input: mine });
    const { run, log, lines } = nodeWith([left]);
    await removeLeftovers({ tools: toolsOf('nft', 'IPv4'), run, log });
    expect(lines).toEqual(['what an earlier start left in iptables-legacy cannot be removed: packets pass it too']);
  });

  it('takes ours out of both variants of a family where another mode took over', async () => {
    const other = new FakeIptables(toolsOf('nft', 'IPv6'));
    const kernels = [new FakeIptables(), legacy()];
    for (const kernel of [...kernels, other]) await start(kernel).to([service()], [slice()]);
    const before = other.save('nat');
    const { run, log, lines } = nodeWith([...kernels, other]);
    await removeFamily('IPv4', { run, log });
    for (const kernel of kernels) expect(kernel.save('nat') + kernel.save('filter')).not.toContain('KUBE-');
    expect(other.save('nat')).toBe(before);
    expect(lines.map(line => line.replace(/^\d+ /, ''))).toEqual(
      ['legacy', 'nft'].map(variant => `rules and chains of ours were left in iptables-${variant}: removed`),
    );
  });

  it('leaves what others have their packets masqueraded by', async () => {
    const left = legacy();
    await start(left).to([service()], [slice()]);
    const mine = '*nat\n:CNI-HOSTPORT-SETMARK - [0:0]\n-A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ\nCOMMIT\n';
    await left.run(left.io.tools.restore, ['--noflush'], { input: mine });
    const chain = (name: string) =>
      left
        .save('nat')
        .split('\n')
        .filter(line => line.startsWith(`-A ${name} `));
    const before = [chain('KUBE-MARK-MASQ'), chain('KUBE-POSTROUTING'), chain('POSTROUTING')];
    expect(before.map(lines => lines.length)).toEqual([1, 3, 1]);
    const { run, log, lines } = nodeWith([left]);
    for (const count of [2, 3]) {
      await removeLeftovers({ tools: toolsOf('nft', 'IPv4'), run, log });
      expect(left.save('nat').match(/^:KUBE-\S+/gm)).toEqual([':KUBE-MARK-MASQ', ':KUBE-POSTROUTING']);
      expect([chain('KUBE-MARK-MASQ'), chain('KUBE-POSTROUTING'), chain('POSTROUTING')]).toEqual(before);
      expect(lines).toHaveLength(count);
    }
    expect(lines[0]).toBe('KUBE-MARK-MASQ stays: CNI-HOSTPORT-SETMARK of others use it');
  });

  it('takes everything out of every variant and family that has its programs, and counts it', async () => {
    const kernels = [new FakeIptables(), legacy(), new FakeIptables(toolsOf('nft', 'IPv6'))];
    for (const kernel of kernels) await start(kernel).to([service()], [slice()]);
    const { run } = nodeWith(kernels);
    expect(await removeEverywhere({ run })).toBeGreaterThan(3 * 10);
    for (const kernel of kernels) expect(kernel.save('nat') + kernel.save('filter')).not.toContain('KUBE-');
    expect(await removeEverywhere({ run })).toBe(0);
  });

  it('cannot remove anything without any program, and says which are missing', async () => {
    await expect(removeEverywhere({ run: nodeWith([]).run })).rejects.toThrow(
      /^iptables-nft-save: no such program \(Debian package iptables\)\nip6tables-nft-save/,
    );
  });
});
