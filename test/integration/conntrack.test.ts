import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { configurationFile } from '../../src/lab/daemons.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { clientAddress, nodes } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  awaitGone,
  awaitUsed,
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  endpoint6,
  eventually,
  labName,
  logLines,
  serviceObject,
  servicesPath,
  setEndpoints,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';
import { UdpTalk, type UdpTarget } from './udp-talk.ts';

const [nodeA] = nodes;
const on = [nodeA.name];

/** '' = nftables, as this kernel can. */
const MODES = ['', 'iptables'] as const;

describeLab('UDP clients that keep their socket', () => {
  describe.each(MODES)('mode "%s"', inMode);
});

function inMode(mode: (typeof MODES)[number]): void {
  let lab: Lab;
  let onA: PodState;
  let onB: PodState;
  let other: PodState;

  beforeAll(async () => {
    lab = await createLab({ name: labName('ct'), mode, pods: 3 });
    [onA, onB, other] = lab.pods as [PodState, PodState, PodState];
  });
  afterAll(async () => {
    await lab.close();
  });

  /** An entry of the connection table of the first node: its id, by the client's port and where it was sent. */
  async function entryOf({ sourcePort }: UdpTalk, family: 'ipv4' | 'ipv6' = 'ipv4'): Promise<string> {
    const list = ['conntrack', '-L', '-f', family, '-p', 'udp', '--orig-port-src', String(sourcePort), '-o', 'id'];
    const { stdout } = await lab.exec(nodeA.name, list as [string, ...string[]]);
    return / id=(\d+)/.exec(stdout)?.[1] ?? 'none';
  }

  /** Clients of one target, so many that each pod has one of them. */
  async function clientOfEach(pods: readonly PodState[], from: string, target: UdpTarget) {
    const found = new Map<string, UdpTalk>();
    for (let i = 0; i < 60 && found.size < pods.length; i += 1) {
      const talk = await UdpTalk.open(lab, from, target);
      const pod = await talk.who();
      if (found.has(pod)) talk[Symbol.dispose]();
      else found.set(pod, talk);
    }
    expect([...found.keys()].toSorted()).toEqual(pods.map(({ name }) => name).toSorted());
    const clients = pods.map(({ name }) => found.get(name) ?? expect.unreachable());
    const close = () => {
      for (const client of clients) client[Symbol.dispose]();
    };
    return { clients, [Symbol.dispose]: close };
  }

  const awaitPods = (name: string, pods: readonly PodState[], family: 'IPv4' | 'IPv6' = 'IPv4') =>
    awaitUsed(lab, { service: `default/${name}`, pods, family, on });

  describe.each([
    ['a cluster IP', 'a pod'],
    ['a nodePort', 'an off-cluster client'],
  ])('of %s, from %s', (kind, _) => {
    const isNodePort = kind === 'a nodePort';
    const name = isNodePort ? 'by-node' : 'by-ip';
    const clusterIP = isNodePort ? '10.96.7.2' : '10.96.7.1';
    const target = isNodePort ? { address: nodeA.address, port: 30_701 } : { address: clusterIP, port: 80 };
    const fields = { name, clusterIP, ports: isNodePort ? withNodePort(30_701) : bothProtocols };
    const from = () => (isNodePort ? 'client' : other.name);

    test('go over to another endpoint when theirs goes; the others keep their entry, TCP its connection', async () => {
      await createService(lab, fields, [endpoint(onA), endpoint(onB)]);
      await awaitPods(name, [onA, onB]);
      using talks = await clientOfEach([onA, onB], from(), target);
      const [ofA, ofB] = talks.clients as [UdpTalk, UdpTalk];
      const entry = await entryOf(ofB);
      await using tcp = await lab.talk(from(), target.address, target.port);
      expect(entry).not.toBe('none');

      await setEndpoints(lab, name, [endpoint(tcp.peer.pod === onA.name ? onB : onA)]);
      const [gone, stays] = tcp.peer.pod === onA.name ? [ofA, ofB] : [ofB, ofA];
      const left = stays === ofA ? onA : onB;
      const kept = await entryOf(stays);
      await awaitPods(name, [left]);
      await eventually(async () => expect(await gone.who()).toBe(left.name));
      expect(await stays.who()).toBe(left.name);
      expect(await entryOf(stays)).toBe(kept);
      expect(await tcp.say('still here')).toBe('still here');
    });

    test('are refused when the last endpoint goes, and answered when one is back', async () => {
      await setEndpoints(lab, name, [endpoint(onA)]);
      await awaitPods(name, [onA]);
      using talk = await UdpTalk.open(lab, from(), target);
      await eventually(async () => expect(await talk.who()).toBe(onA.name));
      await setEndpoints(lab, name, []);
      await eventually(async () => expect(await talk.who()).toBe('ECONNREFUSED'));
      await setEndpoints(lab, name, [endpoint(onB)]);
      await eventually(async () => expect(await talk.who()).toBe(onB.name));
    });

    test('whose packet crossed the commit that brought the first endpoint, and kept its destination, are sent on', async () => {
      await setEndpoints(lab, name, []);
      using talk = await UdpTalk.open(lab, from(), target);
      await eventually(async () => expect(await talk.who()).toBe('ECONNREFUSED'));
      // The entry that such a packet leaves behind.
      const [source, sourcePort] = [isNodePort ? clientAddress : other.ip, String(talk.sourcePort)];
      const [to, port] = [target.address, String(target.port)];
      const tuple = ['-s', source, '-d', to, '--orig-port-src', sourcePort, '--orig-port-dst', port];
      await lab.exec(nodeA.name, ['conntrack', '-I', '-p', 'udp', ...tuple, '-t', '120']);
      expect(await entryOf(talk)).not.toBe('none');
      await setEndpoints(lab, name, [endpoint(onB)]);
      await eventually(async () => expect(await talk.who()).toBe(onB.name));
    });

    test('keep an endpoint that terminates and still serves, though new clients get another', async () => {
      await setEndpoints(lab, name, [endpoint(onA)]);
      await awaitPods(name, [onA]);
      using talk = await UdpTalk.open(lab, from(), target);
      await eventually(async () => expect(await talk.who()).toBe(onA.name));
      const entry = await entryOf(talk);
      await setEndpoints(lab, name, [endpoint(onA, { ready: false, serving: true, terminating: true }), endpoint(onB)]);
      await awaitPods(name, [onB]);
      expect(await talk.who()).toBe(onA.name);
      expect(await entryOf(talk)).toBe(entry);
      await setEndpoints(lab, name, [
        endpoint(onA, { ready: false, serving: false, terminating: true }),
        endpoint(onB),
      ]);
      await eventually(async () => expect(await talk.who()).toBe(onB.name));
    });

    test('reach no endpoint of a Service that is deleted, and are answered when it is there again', async () => {
      await setEndpoints(lab, name, [endpoint(onA)]);
      await awaitPods(name, [onA]);
      using talk = await UdpTalk.open(lab, from(), target);
      await eventually(async () => expect(await talk.who()).toBe(onA.name));
      await lab.api.delete(`${servicesPath()}/${name}`);
      await awaitGone(lab, `default/${name}`, on);
      await eventually(async () => expect(await talk.who()).not.toBe(onA.name));
      // In the iptables mode the client has an entry again by now, of a flow that no rule sent on, which must not outlive the Service's return; nftables drops what
      // is sent to a range of cluster IPs and no Service.
      const entry = await entryOf(talk);
      expect(entry === 'none').toBe(mode !== 'iptables' && target.address.startsWith('10.96.'));
      await lab.api.create(servicesPath(), serviceObject(fields));
      await awaitPods(name, [onA]);
      await eventually(async () => expect(await talk.who()).toBe(onA.name));
    });
  });

  test('of an external address that goes: their flows go with it, those of the cluster IP stay', async () => {
    const fields = { name: 'outer', clusterIP: '10.96.7.3', ports: bothProtocols };
    await createService(lab, { ...fields, spec: { externalIPs: ['198.51.100.7'] } }, [endpoint(onA)]);
    await awaitPods('outer', [onA]);
    using outer = await UdpTalk.open(lab, other.name, { address: '198.51.100.7', port: 80 });
    using inner = await UdpTalk.open(lab, other.name, { address: '10.96.7.3', port: 80 });
    expect([await outer.who(), await inner.who()]).toEqual([onA.name, onA.name]);
    const entry = await entryOf(inner);
    await lab.api.patch(`${servicesPath()}/outer`, { spec: { externalIPs: [] } });
    await eventually(async () => expect(await outer.who()).not.toBe(onA.name));
    expect(await inner.who()).toBe(onA.name);
    expect(await entryOf(inner)).toBe(entry);
  });

  test('over IPv6', async ({ skip }) => {
    if (!lab.hasIPv6) skip('no IPv6 here');
    const fields = { name: 'six', clusterIP: '10.96.7.6', clusterIP6: 'fd00:10:96::706', ports: withNodePort(30_706) };
    await createService(lab, fields, [endpoint(onA)]);
    const six = { name: 'six-6', service: 'six', ports: bothProtocols, addressType: 'IPv6' };
    await lab.api.create(slicesPath(), sliceObject({ ...six, endpoints: [endpoint6(onA)] }));
    await awaitPods('six', [onA], 'IPv6');
    using byIP = await UdpTalk.open(lab, other.name, { address: fields.clusterIP6, port: 80 });
    using byNode = await UdpTalk.open(lab, 'client', { address: nodeA.address6, port: 30_706 });
    const talks = [byIP, byNode];
    const all = (answer: string) =>
      eventually(async () => expect(await Promise.all(talks.map(talk => talk.who()))).toEqual([answer, answer]));
    await all(onA.name);
    const entry = await entryOf(byIP, 'ipv6');
    await setEndpoints(lab, 'six-6', [endpoint6(onA), endpoint6(onB)]);
    await awaitPods('six', [onA, onB], 'IPv6');
    await all(onA.name);
    expect(await entryOf(byIP, 'ipv6')).toBe(entry);
    await setEndpoints(lab, 'six-6', [endpoint6(onB)]);
    await all(onB.name);
    await setEndpoints(lab, 'six-6', []);
    await all('ECONNREFUSED');
  });

  test("have the kernel's timeouts as the configuration says, which is followed", async () => {
    const timeout = async () =>
      (await lab.exec(nodeA.name, ['cat', '/proc/sys/net/netfilter/nf_conntrack_udp_timeout'])).stdout.trim();
    const established = ['cat', '/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established'] as const;
    expect((await lab.exec(nodeA.name, [...established])).stdout).toBe('86400\n');
    const file = configurationFile(lab.name, nodeA.name);
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('maxPerCore: 0', 'maxPerCore: 0\n  udpTimeout: 47s'));
    await eventually(async () => expect(await timeout()).toBe('47'));
    await writeFile(file, text);
  });

  test('while no daemon runs stay with an endpoint that went; its start makes up for it, for Services that are gone too', async () => {
    const moved = { name: 'moved', clusterIP: '10.96.7.11', ports: bothProtocols };
    const gone = { name: 'gone', clusterIP: '10.96.7.12', ports: withNodePort(30_712) };
    const same = { name: 'same', clusterIP: '10.96.7.13', ports: bothProtocols };
    for (const fields of [moved, gone, same]) {
      await createService(lab, fields, [endpoint(onA)]);
      await awaitPods(fields.name, [onA]);
    }
    const open = (address: string) => UdpTalk.open(lab, other.name, { address, port: 80 });
    using ofMoved = await open(moved.clusterIP);
    using ofGone = await open(gone.clusterIP);
    using ofSame = await open(same.clusterIP);
    using ofGoneNode = await UdpTalk.open(lab, 'client', { address: nodeA.address, port: 30_712 });
    const talks = [ofMoved, ofGone, ofSame, ofGoneNode];
    const all = () => Promise.all(talks.map(talk => talk.who()));
    expect(await all()).toEqual(talks.map(() => onA.name));
    const entry = await entryOf(ofSame);

    await lab.stopDaemon(nodeA.name, 'SIGKILL');
    await setEndpoints(lab, 'moved', [endpoint(onB)]);
    await lab.api.delete(`${servicesPath()}/gone`);
    expect(await all()).toEqual(talks.map(() => onA.name));

    await lab.startDaemon(nodeA.name);
    await eventually(async () => expect(await ofMoved.who()).toBe(onB.name));
    await eventually(async () => expect(await ofGone.who()).not.toBe(onA.name));
    await eventually(async () => expect(await ofGoneNode.who()).not.toBe(onA.name));
    expect(await ofSame.who()).toBe(onA.name);
    expect(await entryOf(ofSame)).toBe(entry);
    expect(logLines(lab, nodeA.name).map(({ msg }) => msg)).toContainEqual(
      expect.stringMatching(/^deleted \d+ conntrack entries of UDP clients whose endpoint is gone$/),
    );
    await lab.restartDaemon(nodeA.name);
    expect(await entryOf(ofSame)).toBe(entry);
  });
}
