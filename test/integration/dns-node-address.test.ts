/** The DNS Service's address is served on its node, while the server there lives and is well; else by the Service's endpoints, through the real daemon. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, podPort } from '../../src/lab/layout.ts';
import { setSysctls } from '../../src/lab/netns.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  awaitUsed,
  createService,
  describeLab,
  endpoint,
  endpoint6,
  eventually,
  labName,
  sliceObject,
  slicesPath,
} from './daemon-lab.ts';
import { Client, NodeServer } from './dns-node-processes.ts';
import { UdpTalk } from './udp-talk.ts';

const [nodeA] = nodes;
const PORT = 53;
const NODE_PORT = 30053;
const VIP = { IPv4: '10.96.0.10', IPv6: 'fd00:10:96::a' } as const;
const DNS_PORTS = [
  { name: 'dns', protocol: 'UDP', port: PORT, nodePort: NODE_PORT },
  { name: 'dns-tcp', protocol: 'TCP', port: PORT, nodePort: NODE_PORT },
] as const;
const FAMILIES = ['IPv4', 'IPv6'] as const;
const PROTOCOLS = ['udp', 'tcp'] as const;

for (const mode of ['nftables', 'iptables']) {
  describeLab(`DNS served on the node, mode ${mode}`, () => {
    let lab: Lab;
    // What has nothing to do with the proxy.
    const testOnce = (name: string, run: () => Promise<void>) => {
      if (mode === 'nftables') test(name, run);
    };
    let pod: PodState;
    let remote: PodState;
    let clients: readonly Client[];

    beforeAll(async () => {
      lab = await createLab({ name: labName(`dns${mode.slice(0, 1)}`), mode, pods: 2 });
      [pod, remote] = lab.pods as [PodState, PodState];
      const fields = { name: 'kube-dns', clusterIP: VIP.IPv4, clusterIP6: VIP.IPv6, ports: DNS_PORTS };
      await createService(lab, fields, [endpoint(remote)]);
      const slice6 = { name: 'kube-dns-6', service: 'kube-dns', ports: DNS_PORTS, addressType: 'IPv6' };
      await lab.api.create(slicesPath(), sliceObject({ ...slice6, endpoints: [endpoint6(remote)] }));
      for (const family of FAMILIES) await awaitUsed(lab, { service: 'default/kube-dns', pods: [remote], family });
      clients = [pod.name, nodeA.name].map(from => new Client(lab, from));
    });
    afterAll(async () => {
      for (const client of clients) await client[Symbol.asyncDispose]();
      await lab.close();
    });

    const start = (name = 'local', waits = false) =>
      NodeServer.start({ lab, node: nodeA.name, name, port: PORT, ips: Object.values(VIP), waits });
    /** Who answers, whoever asks by whatever way. */
    const whoAnswers = async (port = PORT, addresses: readonly string[] = Object.values(VIP)) => {
      const targets = addresses.flatMap(address => PROTOCOLS.map(protocol => ({ address, port, protocol })));
      const found = await Promise.all(clients.map(client => client.ask([...targets, ...targets, ...targets])));
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
      const talks = await Promise.all(
        clients.flatMap(({ from }) =>
          FAMILIES.map(family => UdpTalk.open(lab, from, { address: VIP[family], port: PORT }, 900)),
        ),
      );
      const ask = async () => [...new Set(await Promise.all(talks.map(talk => talk.who())))];
      expect(await ask()).toEqual([remote.name]);
      await using server = await start();
      expect(await ask()).toEqual(['local']);
      await server.kill();
      expect(await ask()).toEqual([remote.name]);
      for (const talk of talks) talk[Symbol.dispose]();
    });

    test('a server that hangs is passed by within a second, and is back when it goes on', async () => {
      await using server = await start();
      server.signal('SIGSTOP');
      await delay(1100);
      expect(await whoAnswers()).toEqual([remote.name]);
      server.signal('SIGCONT');
      await eventually(async () => expect(await whoAnswers()).toEqual(['local']), 3000);
    });

    testOnce('a server that withdraws is asked nothing more, though its sockets are open', async () => {
      await using server = await start();
      await using held = await lab.talk(pod.name, VIP.IPv4, PORT);
      await server.do('withdraw');
      expect(await whoAnswers()).toEqual([remote.name]);
      expect(await held.say('still here')).toBe('still here');
      await server.do('serve');
      expect(await whoAnswers()).toEqual(['local']);
    });

    testOnce('a server without a socket is asked nothing by pods, whatever its process says', async () => {
      await using server = await start();
      await server.do('deafen');
      const targets = Object.values(VIP).flatMap(address =>
        PROTOCOLS.map(protocol => ({ address, port: PORT, protocol })),
      );
      expect(await clients[0]!.ask(targets)).toEqual(targets.map(() => remote.name));
      await server.kill();
    });

    test('TCP connections stay where they began', async () => {
      const open = () =>
        Promise.all(clients.flatMap(({ from }) => FAMILIES.map(family => lab.talk(from, VIP[family], PORT))));
      const say = (talks: Awaited<ReturnType<typeof open>>) => Promise.all(talks.map(talk => talk.say('hello')));
      const before = await open();
      await using server = await start();
      const during = await open();
      expect(before.map(({ peer }) => peer.pod)).toEqual(before.map(() => remote.name));
      expect(during.map(({ peer }) => peer.pod)).toEqual(during.map(() => 'local'));
      expect([...(await say(before)), ...(await say(during))]).toEqual([...before, ...during].map(() => 'hello'));
      await server.kill();
      expect(await say(before)).toEqual(before.map(() => 'hello'));
      await Promise.all([...before, ...during].map(talk => talk.close()));
    });

    testOnce('a hand-over loses no question: the endpoints answer while the sockets change hands', async () => {
      await using first = await start('first');
      const target = { address: VIP.IPv4, port: PORT, protocol: 'udp' } as const;
      await using traffic = await lab.traffic(pod.name, { targets: [target], connectionsPerSecond: 200 });
      await using own = await lab.traffic(nodeA.name, { targets: [target], connectionsPerSecond: 200 });
      // Sockets of both share the port, and what is queued in one is lost when it is closed: nothing may come there then.
      await using second = await start('second', true);
      await first.do('withdraw');
      await delay(50);
      await first.do('deafen');
      await second.do('serve');
      await first.do('close');
      await first.kill();
      await delay(200);
      for (const { failures, pods } of [await traffic.stop(), await own.stop()]) {
        expect(failures).toEqual([]);
        expect(Object.keys(pods).toSorted()).toEqual(['first', 'second', remote.name].toSorted());
      }
      expect(await whoAnswers()).toEqual(['second']);
    });

    testOnce(
      'what the node is told otherwise to be strict about is no obstacle, nor are datagrams in fragments',
      async () => {
        const strict = `table inet strict {
        chain forward { type filter hook forward priority 10; policy drop; }
        chain input { type filter hook input priority 10; ct state invalid drop; }
        chain output { type filter hook output priority 10; ct state invalid drop; }
      }`;
        await using server = await start();
        await lab.exec(nodeA.name, ['nft', '-f', '-'], { input: strict });
        await setSysctls(lab.netns(nodeA.name), { 'net.ipv4.conf.all.rp_filter': 1, 'net.ipv4.conf.lo.rp_filter': 1 });
        try {
          await forget();
          expect(await whoAnswers()).toEqual(['local']);
          const large = Object.values(VIP).map(address => ({
            address,
            port: PORT,
            protocol: 'udp' as const,
            bytes: 4000,
          }));
          for (const client of clients) expect(await client.ask(large)).toEqual(['local', 'local']);
          expect(await tracked()).toEqual([]);
        } finally {
          await lab.exec(nodeA.name, ['nft', 'delete', 'table', 'inet', 'strict']);
        }
        await server.kill();
      },
    );

    testOnce('what somebody takes away is put back; what is left in the end is removed', async () => {
      const tables = async () => {
        const { stdout } = await lab.exec(nodeA.name, ['nft', 'list', 'tables']);
        return stdout
          .split('\n')
          .filter(line => line.includes('kproxy-ts-dns'))
          .toSorted();
      };
      await using server = await start();
      expect(await tables()).toHaveLength(4);
      await lab.exec(nodeA.name, ['nft', 'delete', 'table', 'ip', 'kproxy-ts-dns']);
      await lab.exec(nodeA.name, ['ip', 'address', 'del', `${VIP.IPv4}/32`, 'dev', 'lo']);
      await eventually(async () => expect(await whoAnswers(PORT, [VIP.IPv4])).toEqual([remote.name]), 5000);
      await server.do(`set ${Object.values(VIP).join(' ')}`);
      await eventually(async () => expect(await whoAnswers()).toEqual(['local']), 5000);
      expect(await tables()).toHaveLength(4);
      await server.kill();
      // What was the process's own is gone with it.
      expect(await tables()).toEqual(['table ip kproxy-ts-dns', 'table ip6 kproxy-ts-dns']);
      await using last = await start('last');
      await last.do('close');
      expect(await last.do('remove')).toEqual(Object.values(VIP));
      expect(await tables()).toEqual([]);
      expect((await lab.exec(nodeA.name, ['ip', 'address', 'show', 'dev', 'lo'])).stdout).not.toContain(VIP.IPv4);
    });

    test('other ports of the address lead nowhere, whatever listens at all addresses of the node', async () => {
      await using server = await start();
      await server.do('listen 9999');
      expect(await whoAnswers(9999, [nodeA.gateway, nodeA.gateway6])).toEqual(['local']);
      expect(await whoAnswers(9999)).toEqual(['ECONNREFUSED']);
      // See docs/dns.md for the other mode.
      if (mode === 'nftables') expect(await whoAnswers(NODE_PORT)).toEqual(['ECONNREFUSED']);
      expect(await whoAnswers(NODE_PORT, [nodeA.address])).toEqual([remote.name]);
    });
  });
}

describeLab('DNS served on the node, beside a proxy that rewrites no sources', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: labName('dnsp'), pods: 2, daemons: false });
  });
  afterAll(async () => {
    await lab.close();
  });

  test("the node's own clients, whose source is the address itself, get an answer from elsewhere", async () => {
    const [pod, remote] = lab.pods as [PodState, PodState];
    const rules = PROTOCOLS.flatMap(protocol => [
      `ip daddr ${VIP.IPv4} ${protocol} dport ${PORT} dnat ip to ${remote.ip}:${podPort}`,
      `ip6 daddr ${VIP.IPv6} ${protocol} dport ${PORT} dnat ip6 to [${remote.ip6}]:${podPort}`,
    ]);
    const chains = ['prerouting', 'output'].map(
      hook => `chain ${hook} { type nat hook ${hook} priority -100; jump services; }`,
    );
    const input = `table inet plain { chain services { ${rules.join('; ')}; }; ${chains.join('; ')}; }`;
    await lab.exec(nodeA.name, ['nft', '-f', '-'], { input });
    const targets = Object.values(VIP).flatMap(address =>
      PROTOCOLS.map(protocol => ({ address, port: PORT, protocol })),
    );
    await using server = await NodeServer.start({
      lab,
      node: nodeA.name,
      name: 'local',
      port: PORT,
      ips: Object.values(VIP),
    });
    for (const from of [pod.name, nodeA.name]) {
      await using client = new Client(lab, from);
      expect(await client.ask(targets)).toEqual(targets.map(() => 'local'));
      await server.do('withdraw');
      expect(await client.ask(targets)).toEqual(targets.map(() => remote.name));
      await server.do('serve');
    }
  });
});
