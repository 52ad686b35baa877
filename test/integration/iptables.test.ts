import { afterAll, beforeAll, expect, it } from 'vitest';
import { diff, isEmpty } from '../../src/backends/diff.ts';
import { createIptablesBackend, IPTABLES_NFT } from '../../src/backends/iptables/backend.ts';
import { removeAll } from '../../src/backends/iptables/removal.ts';
import { planAll } from '../../src/backends/route-changes.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { type RunOptions, run } from '../../src/linux/exec.ts';
import type { EndpointSlice, Service } from '../../src/watch/objects.ts';
import { FakeIptables } from '../fakes/iptables.ts';
import { IPTABLES_OPTIONS, service, slice, sliceEndpoint, snapshot } from '../fakes/objects.ts';
import { describeUnless } from './requires.ts';

const NETNS = `kpx-ipt-${process.pid}`;
const node = { name: 'node-a', zone: '' };
const inNetns = (file: string, args: readonly string[] = [], options: RunOptions = {}) =>
  run(file, args, { ...options, netns: NETNS });
const real = { tools: IPTABLES_NFT, run: inNetns };

function modelOf(services: Service[], slices: EndpointSlice[]) {
  const snap = snapshot(services, slices);
  return updateModel(emptyModel('IPv4', node), snap, snap.services.keys(), node);
}

const long = 'x'.repeat(63);
const ports = [
  { name: 'http', protocol: 'TCP' as const, port: 80, nodePort: 30080 },
  { name: 'dns', protocol: 'UDP' as const, port: 53, nodePort: 30053 },
  { name: 'sctp', protocol: 'SCTP' as const, port: 9, nodePort: 0 },
];
const slicePorts = ports.map(({ name, protocol, port }) => ({ name, protocol, port: port + 8000 }));

/** Clusters that differ in everything the plan can express; each is reached from the one before. */
const CLUSTERS: readonly (readonly [string, Service[], EndpointSlice[]])[] = [
  ['nothing', [], []],
  ['one Service', [service()], [slice()]],
  ['three protocols, node ports', [service({ ports })], [slice({ ports: slicePorts })]],
  ['no endpoints', [service({ ports })], []],
  [
    'policies Local, external addresses',
    [
      service({
        ports,
        internalTrafficPolicy: 'Local',
        externalTrafficPolicy: 'Local',
        externalIPs: ['192.0.2.1'],
        loadBalancerIngress: [{ ip: '198.51.100.1', ipMode: 'VIP' }],
      }),
    ],
    [
      slice({
        ports: slicePorts,
        endpoints: [sliceEndpoint('10.244.1.2', { nodeName: 'node-a' }), sliceEndpoint('10.244.2.2')],
      }),
    ],
  ],
  [
    'policies Local, nothing local',
    [service({ ports, internalTrafficPolicy: 'Local' })],
    [slice({ ports: slicePorts })],
  ],
  [
    'names of 63 characters',
    [service({ namespace: long, name: long, ports: [{ ...ports[0]!, name: long }] })],
    [slice({ namespace: long, serviceName: long, ports: [{ ...slicePorts[0]!, name: long }] })],
  ],
  ['one Service again', [service()], [slice()]],
];

/** A table as text, the order of chains left out. */
async function saved(io: typeof real | FakeIptables['io'], table: string): Promise<string[]> {
  const { stdout } = await io.run!('iptables-nft-save', ['-t', table]);
  return stdout
    .split('\n')
    .filter(line => /^(?:-A|:KUBE)/.test(line))
    .toSorted();
}

const lacking = await obstacle();

describeUnless(lacking, 'the iptables backend on this kernel', () => {
  beforeAll(async () => {
    await run('ip', ['netns', 'add', NETNS]);
  });
  afterAll(async () => {
    await run('ip', ['netns', 'del', NETNS]);
  });

  it('reads back what it wrote, and the fake kernel agrees with the real one at every step', async () => {
    const fake = new FakeIptables();
    for (const [name, services, slices] of CLUSTERS) {
      const wanted = new Map(
        planAll(
          createIptablesBackend(() => IPTABLES_OPTIONS, real),
          modelOf(services, slices),
        ),
      );
      for (const io of [real, fake.io]) {
        const backend = createIptablesBackend(() => IPTABLES_OPTIONS, io);
        const before = await backend.read();
        const { plan, failures } = await backend.apply(diff(before, wanted), before);
        expect(failures, name).toEqual([]);
        expect(isEmpty(diff(plan, wanted)), name).toBe(true);
        const changes = diff(await backend.read(), wanted);
        expect([...changes.created.keys(), ...changes.updated.keys(), ...changes.deleted.keys()], name).toEqual([]);
      }
      for (const table of ['filter', 'nat'])
        expect(await saved(fake.io, table), name).toEqual(await saved(real, table));
    }
  });

  it('leaves out only the object that the kernel refuses, and says which', async () => {
    const model = modelOf([service(), service({ name: 'other', clusterIPs: ['10.96.0.11'] })], [slice()]);
    const backend = createIptablesBackend(() => IPTABLES_OPTIONS, real);
    const wanted = new Map(planAll(backend, model));
    const bad = {
      kind: 'rule',
      table: 'nat',
      chain: 'KUBE-SERVICES',
      rule: '-d 10.96.0.99/32 -j NO-SUCH-CHAIN',
    } as const;
    wanted.set('bad', bad);
    const before = await backend.read();
    const { failures, plan } = await backend.apply(diff(before, wanted), before);
    expect(failures.map(({ key, error }) => `${key}: ${error.message}`)).toEqual([
      expect.stringMatching(/^bad: .*NO-SUCH-CHAIN/),
    ]);
    wanted.delete('bad');
    expect(isEmpty(diff(plan, wanted))).toBe(true);
    expect(isEmpty(diff(await backend.read(), wanted))).toBe(true);
  });

  it('cleanup removes ours and leaves what others put beside it', async () => {
    const foreign =
      '*nat\n:OTHER - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n-A PREROUTING -d 203.0.113.1/32 -j OTHER\nCOMMIT\n';
    await inNetns('iptables-nft-restore', ['--noflush'], { input: foreign });
    await removeAll(real);
    expect(await saved(real, 'nat')).toEqual([
      '-A PREROUTING -d 203.0.113.1/32 -j OTHER',
      ':KUBE-KUBELET-CANARY - [0:0]',
    ]);
    expect(await saved(real, 'filter')).toEqual([]);
  });

  it('cleanup removes more than one call takes', async () => {
    const many = Array.from({ length: 500 }, (_, i) => i);
    const services = many.map(i => service({ name: `s${i}`, clusterIPs: [`10.96.${i >> 8}.${i & 255}`] }));
    const endpoints = Array.from({ length: 10 }, (_, i) => sliceEndpoint(`10.244.1.${i + 1}`));
    const slices = many.map(i => slice({ name: `s${i}-1`, serviceName: `s${i}`, endpoints }));
    const backend = createIptablesBackend(() => IPTABLES_OPTIONS, real);
    const before = await backend.read();
    await backend.apply(diff(before, planAll(backend, modelOf(services, slices))), before);
    expect(await removeAll(real)).toBeGreaterThan(5000);
    expect(await removeAll(real)).toBe(0);
    expect((await saved(real, 'nat')).filter(line => line.includes('KUBE-MARK-MASQ'))).toEqual([]);
  });

  it('cleanup names what it cannot remove and why', async () => {
    const backend = createIptablesBackend(() => IPTABLES_OPTIONS, real);
    const before = await backend.read();
    await backend.apply(diff(before, planAll(backend, modelOf([], []))), before);
    const mine = '*nat\n:MINE - [0:0]\n-A MINE -j KUBE-POSTROUTING\nCOMMIT\n';
    await inNetns('iptables-nft-restore', ['--noflush'], { input: mine });
    await expect(removeAll(real)).rejects.toThrow(/^cannot remove nat\/KUBE-POSTROUTING: .*busy.*$/is);
    await inNetns('iptables-nft-restore', ['--noflush'], { input: '*nat\n:MINE - [0:0]\n-X MINE\nCOMMIT\n' });
    expect(await removeAll(real)).toBe(1);
  });

  it('a tool that is missing is named, and nothing is lost', async () => {
    const backend = createIptablesBackend(() => IPTABLES_OPTIONS, {
      tools: { ...IPTABLES_NFT, save: 'no-such-save', restore: 'no-such-restore' },
    });
    await expect(backend.read()).rejects.toMatchObject({ name: 'ExecError', isNotFound: true });
  });
});
