/** The DNS Service's address is served on its node, while the server there lives and is well; else by the Service's endpoints, through the real daemon. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  ask,
  awaitUsed,
  createService,
  describeLab,
  endpoint,
  endpoint6,
  eventually,
  labName,
  serviceObject,
  servicesPath,
  sliceObject,
  slicesPath,
} from './daemon-lab.ts';
import { NodeServer } from './dns-node-server.ts';
import { UdpTalk } from './udp-talk.ts';

const [nodeA, nodeB] = nodes;
const PORT = 53;
const VIP = { IPv4: '10.96.0.10', IPv6: 'fd00:10:96::a' } as const;
const DNS_PORTS = [
  { name: 'dns', protocol: 'UDP', port: PORT, nodePort: 30053 },
  { name: 'dns-tcp', protocol: 'TCP', port: PORT, nodePort: 30053 },
] as const;
const FAMILIES = ['IPv4', 'IPv6'] as const;
const PROTOCOLS = ['udp', 'tcp'] as const;

for (const mode of ['nftables', 'iptables']) {
  describeLab(`DNS served on the node, mode ${mode}`, () => {
    let lab: Lab;
    let client: PodState;
    let remote: PodState;

    beforeAll(async () => {
      lab = await createLab({ name: labName(`dns${mode.slice(0, 1)}`), mode, pods: 2 });
      [client, remote] = lab.pods as [PodState, PodState];
      const fields = { name: 'kube-dns', clusterIP: VIP.IPv4, clusterIP6: VIP.IPv6, ports: DNS_PORTS };
      await createService(lab, fields, [endpoint(remote)]);
      const slice6 = { name: 'kube-dns-6', service: 'kube-dns', ports: DNS_PORTS, addressType: 'IPv6' };
      await lab.api.create(slicesPath(), sliceObject({ ...slice6, endpoints: [endpoint6(remote)] }));
      for (const family of FAMILIES) await awaitUsed(lab, { service: 'default/kube-dns', pods: [remote], family });
    });
    afterAll(async () => {
      await lab.close();
    });

    const start = (name = 'local', ips: readonly string[] = Object.values(VIP)) =>
      NodeServer.start({ lab, node: nodeA.name, name, port: PORT, ips });
    const froms = () => [client.name, nodeA.name];
    /** Everything that may ask, over everything. */
    const ways = () =>
      froms().flatMap(from =>
        FAMILIES.flatMap(family => PROTOCOLS.map(protocol => ({ from, address: VIP[family], protocol }))),
      );
    const whoAnswers = async () => {
      const found = await Promise.all(
        ways().map(async ({ from, ...target }) => {
          const { replies, failures } = await lab.probe(from, { ...target, port: PORT, count: 4, timeoutMs: 900 });
          return [...replies.map(({ pod }) => pod), ...failures.map(({ error }) => error)];
        }),
      );
      return [...new Set(found.flat())];
    };
    /** Entries of the node's connection table that have anything to do with the address. */
    const tracked = async () => {
      const listings = await Promise.all(
        ['ipv4', 'ipv6'].map(family => lab.exec(nodeA.name, ['conntrack', '-L', '-f', family])),
      );
      const lines = listings.flatMap(({ stdout }) => stdout.split('\n'));
      return lines.filter(line => Object.values(VIP).some(ip => line.includes(`=${ip} `)));
    };
    const forget = async () => {
      for (const family of ['ipv4', 'ipv6']) await lab.exec(nodeA.name, ['conntrack', '-F', '-f', family]);
    };

    test('without a server, the endpoint answers; with one, only that, and conntrack hears nothing of it', async () => {
      expect(await whoAnswers()).toEqual([remote.name]);
      await using server = await start();
      await forget();
      expect(await whoAnswers()).toEqual(['local']);
      expect(await tracked()).toEqual([]);
      await server.kill();
      expect(await whoAnswers()).toEqual([remote.name]);
    });

    test('a client that keeps its port is answered by whoever serves, from one question to the next', async () => {
      for (const from of froms()) {
        for (const family of FAMILIES) {
          using talk = await UdpTalk.open(lab, from, { address: VIP[family], port: PORT }, 900);
          expect(await talk.who()).toBe(remote.name);
          await using server = await start();
          expect(await talk.who()).toBe('local');
          await server.kill();
          expect(await talk.who()).toBe(remote.name);
        }
      }
    });

    test('a server that hangs is passed by within a second, and is back when it goes on', async () => {
      await using server = await start();
      server.signal('SIGSTOP');
      await delay(1100);
      expect(await whoAnswers()).toEqual([remote.name]);
      server.signal('SIGCONT');
      await eventually(async () => expect(await whoAnswers()).toEqual(['local']), 3000);
    });

    test('a server that withdraws is asked nothing more, though its sockets are open', async () => {
      await using server = await start();
      await using held = await lab.talk(client.name, VIP.IPv4, PORT);
      await server.do('withdraw');
      expect(await whoAnswers()).toEqual([remote.name]);
      expect(await held.say('still here')).toBe('still here');
      await server.do('beat');
      expect(await whoAnswers()).toEqual(['local']);
    });

    test('TCP connections stay where they began', async () => {
      const open = () =>
        Promise.all(froms().flatMap(from => FAMILIES.map(family => lab.talk(from, VIP[family], PORT))));
      const say = (talks: Awaited<ReturnType<typeof open>>) => Promise.all(talks.map(talk => talk.say('hello')));
      const before = await open();
      await using server = await start();
      const during = await open();
      expect(before.map(({ peer }) => peer.pod)).toEqual(before.map(() => remote.name));
      expect(during.map(({ peer }) => peer.pod)).toEqual(during.map(() => 'local'));
      expect([...(await say(before)), ...(await say(during))]).toEqual([...before, ...during].map(() => 'hello'));
      await server.kill();
      expect(await say(before)).toEqual(before.map(() => 'hello'));
      for (const talk of during) await expect(talk.say('hello')).rejects.toThrow();
      await Promise.all([...before, ...during].map(talk => talk.close()));
    });

    test('a hand-over loses no question', async () => {
      await using first = await start('first');
      const target = { address: VIP.IPv4, port: PORT, protocol: 'udp' } as const;
      await using traffic = await lab.traffic(client.name, { targets: [target], connectionsPerSecond: 200 });
      await using own = await lab.traffic(nodeA.name, { targets: [target], connectionsPerSecond: 200 });
      await using second = await start('second');
      await first.do('withdraw');
      await first.do('close');
      await first.kill();
      await delay(1200);
      for (const report of [await traffic.stop(), await own.stop()]) expect(report.failures).toEqual([]);
      expect(await whoAnswers()).toEqual(['second']);
      await second.kill();
    });

    test('other ports of the address lead nowhere, whatever listens at all addresses of the node', async () => {
      await using server = await start();
      for (const { from, address, protocol } of ways()) {
        // The lab's echo of the node's own network: any port that something has at all addresses. 30053 is a nodePort.
        const [refused] = await ask(lab, from, { address, port: 8080, protocol, timeoutMs: 900 });
        expect(`${from} ${address} ${protocol} ${refused}`).toBe(`${from} ${address} ${protocol} ECONNREFUSED`);
      }
      await server.kill();
    });
  });
}
void [nodeB, describe, afterEach, serviceObject, servicesPath];
