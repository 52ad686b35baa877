/**
 * cni-wiring-main.ts: run in a network and a mount namespace of its own by cni-wiring.test.ts. Pods' links over the real kernel; prints what was found wrong
 * in each case as JSON.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { isMainThread, Worker } from 'node:worker_threads';
import { CniError, CODE } from '../../src/cni/types.ts';
import { aliasOf, hostLinkOf, shaperOf } from '../../src/cni/wiring/names.ts';
import type { WiringPorts } from '../../src/cni/wiring/ports.ts';
import { Removals } from '../../src/cni/wiring/removals.ts';
import type { BridgeSpec, LinkSpec } from '../../src/cni/wiring/specs.ts';
import { systemPorts, type Wiring, wiringOver } from '../../src/cni/wiring/wiring.ts';
import { loadLibc } from '../../src/linux/libc.ts';
import type { RouteKernel } from '../../src/linux/route-socket.ts';
import type { RouteRequest } from '../../src/rtnetlink/encoding.ts';

// biome-ignore lint/suspicious/noExplicitAny: what ip prints
type Json = any;
const sh = (line: string): string =>
  execFileSync('sh', ['-c', line], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const json = (line: string): Json => JSON.parse(sh(line) || '[]');

const BRIDGE: BridgeSpec = {
  name: 'cni0',
  gateways: ['10.88.0.1/24'],
  forceAddress: false,
  promisc: false,
  vlanFiltering: false,
};
const DUAL: BridgeSpec = { ...BRIDGE, gateways: ['10.88.0.1/24', 'fd00:88::1/64'] };

function specOf(number: number, extra: Partial<LinkSpec> = {}): LinkSpec {
  const id = { network: 'kp', containerID: `c${number}`, ifname: extra.ifname ?? 'eth0' };
  return {
    netns: `/run/netns/p${number}`,
    ifname: 'eth0',
    hostLink: hostLinkOf(id),
    alias: aliasOf(id),
    bridge: BRIDGE,
    hairpin: false,
    isolated: false,
    preserveDefaultVlan: false,
    addresses: [{ address: `10.88.0.${number + 1}/24`, gateway: '10.88.0.1' }],
    routes: [],
    isDefaultGateway: true,
    dad: false,
    up: true,
    ...extra,
  };
}

const dualOf = (number: number, extra: Partial<LinkSpec> = {}): LinkSpec =>
  specOf(number, {
    bridge: DUAL,
    addresses: [
      { address: `10.88.0.${number + 1}/24`, gateway: '10.88.0.1' },
      { address: `fd00:88::${number + 1}/64`, gateway: 'fd00:88::1' },
    ],
    ...extra,
  });

class Case {
  readonly wiring: Wiring;
  readonly problems: string[] = [];

  constructor(wiring: Wiring) {
    this.wiring = wiring;
  }

  is(actual: unknown, expected: unknown, what: string): void {
    if (!isDeepStrictEqual(actual, expected))
      this.problems.push(`${what}: ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`);
  }

  holds(isTrue: boolean, what: string): void {
    if (!isTrue) this.problems.push(what);
  }

  /** The code of what `work` throws. */
  refused(work: () => unknown, code: number, what: string): void {
    try {
      work();
      this.problems.push(`${what}: no error`);
    } catch (error) {
      if (!(error instanceof CniError) || error.code !== code) this.problems.push(`${what}: ${error}, not ${code}`);
    }
  }
}

/** Everything of the host and of a pod that an attachment could leave something in. */
function snapshot(pods: readonly number[] = [1, 2]): string {
  const parts = ['', ...pods.map(pod => `-n p${pod}`)].flatMap(where => [
    `ip ${where} -d -o link | grep -v ': cni0:' | sed 's/gc_timer.*//'`,
    `ip ${where} -o addr | grep -v ': cni0 '`,
    `ip ${where} route show table all | grep -v cni0`,
  ]);
  return parts.map(line => sh(`${line} || true`)).join('--\n') + sh('tc qdisc | grep -v cni0 || true');
}

const linkIn = (pod: number, name = 'eth0') => json(`ip -j -d -n p${pod} link show ${name}`)[0];
const hostLink = (name: string) => json(`ip -j -d link show ${name}`)[0];
const addressesIn = (pod: number | undefined, name: string): readonly string[] =>
  json(`ip -j ${pod === undefined ? '' : `-n p${pod}`} addr show ${name}`)[0]
    .addr_info.filter((info: Json) => info.scope !== 'link')
    .map((info: Json) => `${info.local}/${info.prefixlen}`);
const hasLink = (name: string) => sh('ip -o link').includes(` ${name}@`) || sh('ip -o link').includes(` ${name}:`);

/** A TCP connection that nobody accepts is refused by the other side at once: milliseconds until then, -1 when nothing came back. */
const KNOCK = `
const knock = (host) => new Promise(resolve => {
  const began = performance.now();
  const socket = require('node:net').connect({ host, port: 9 });
  const end = setTimeout(() => { socket.destroy(); resolve(-1); }, 1500);
  socket.on('error', error => { clearTimeout(end); resolve(error.code === 'ECONNREFUSED' ? performance.now() - began : -1); });
});
process.stdin.once('data', async hosts => {
  const results = [];
  for (const host of String(hosts).trim().split(' ')) results.push(await knock(host));
  console.log(JSON.stringify(results));
  process.exit();
});
console.log('ready');
`;

/** A program inside a pod, which has started. */
async function inPod(pod: number, code: string): Promise<ChildProcess> {
  const child = spawn('ip', ['netns', 'exec', `p${pod}`, process.execPath, '-e', code], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child.stdout!, 'data');
  return child;
}

async function knockFrom(child: ChildProcess, ...hosts: string[]): Promise<number[]> {
  child.stdin!.write(`${hosts.join(' ')}\n`);
  const [answer] = await once(child.stdout!, 'data');
  return JSON.parse(String(answer));
}

async function knock(host: string): Promise<number> {
  const began = performance.now();
  const socket = connect({ host, port: 9 });
  const timer = setTimeout(() => socket.destroy(new Error('no answer')), 1500);
  const [error] = await once(socket, 'error');
  clearTimeout(timer);
  return error.code === 'ECONNREFUSED' ? performance.now() - began : -1;
}

const CASES: Record<string, (test: Case) => void | Promise<void>> = {
  A02(test) {
    const { interfaces, podInterface, mac } = test.wiring.attach(specOf(1));
    const [bridge, host, pod] = [hostLink('cni0'), hostLink(interfaces[1]!.name), linkIn(1)];
    test.is(
      interfaces.map(({ name }) => name),
      ['cni0', hostLinkOf({ network: 'kp', containerID: 'c1', ifname: 'eth0' }), 'eth0'],
      'interfaces',
    );
    test.is(
      interfaces.map(each => each.mac),
      [bridge.address, host.address, pod.address],
      'MACs',
    );
    test.is([podInterface, mac, interfaces[2]!.sandbox], [2, '0a:58:0a:58:00:02', '/run/netns/p1'], 'the pod');
    test.is([host.link_index, pod.link_index], [pod.ifindex, host.ifindex], 'each is the other one of the pair');
    test.is([host.master, host.linkinfo.info_slave_data.state], ['cni0', 'forwarding'], 'on the bridge');
    for (const link of [bridge, host, pod])
      test.holds(link.flags.includes('UP') && link.operstate === 'UP', `${link.ifname} is not up`);
    test.is(addressesIn(undefined, 'cni0'), ['10.88.0.1/24'], 'gateway');
    test.is(addressesIn(1, 'eth0'), ['10.88.0.2/24'], 'address');
    test.is(
      sh('ip -n p1 route').trim().split(/ *\n/),
      ['default via 10.88.0.1 dev eth0', '10.88.0.0/24 dev eth0 proto kernel scope link src 10.88.0.2'],
      'routes',
    );
    test.is(sh('cat /proc/sys/net/ipv4/ip_forward').trim(), '1', 'forwarding');
    test.is(test.wiring.check(specOf(1)), [], 'check');
    test.is(test.wiring.podAddresses('/run/netns/p1', 'eth0'), ['10.88.0.2/24'], 'told addresses');
  },
  A03(test) {
    test.wiring.attach(specOf(1, { isDefaultGateway: false }));
    test.is(addressesIn(undefined, 'cni0'), ['10.88.0.1/24'], 'gateway');
    test.is(sh('ip -n p1 route').includes('default'), false, 'default route');
    test.wiring.attach(
      specOf(2, {
        isDefaultGateway: false,
        bridge: { ...BRIDGE, name: 'cni1', gateways: [] },
        addresses: [{ address: '10.89.0.2/24' }],
      }),
    );
    test.is(addressesIn(undefined, 'cni1'), [], 'without a gateway');
  },
  A05(test) {
    const timed = (spec: LinkSpec) => {
      const began = performance.now();
      test.wiring.attach(spec);
      return performance.now() - began;
    };
    timed(dualOf(1));
    test.is(addressesIn(1, 'eth0'), ['10.88.0.2/24', 'fd00:88::2/64'], 'addresses');
    test.is(sh('ip -n p1 -6 addr; ip -6 addr show cni0').includes('tentative'), false, 'tentative');
    test.is(addressesIn(undefined, 'cni0'), ['10.88.0.1/24', 'fd00:88::1/64'], 'gateways');
    test.is(
      sh('ip -n p1 route show default; ip -n p1 -6 route show default').trim().split('\n').length,
      2,
      'default routes',
    );
    test.is(sh('cat /proc/sys/net/ipv6/conf/all/forwarding').trim(), '1', 'forwarding');
    timed(specOf(2, { bridge: DUAL, addresses: [{ address: 'fd00:88::3/64', gateway: 'fd00:88::1' }] }));
    test.is(addressesIn(2, 'eth0'), ['fd00:88::3/64'], 'IPv6 alone');
    for (const number of [1, 2]) test.is(test.wiring.check({ ...specOf(number), addresses: [] }), [], 'check');
  },
  A06(test) {
    const routes = [
      { dst: '10.1.0.0/16' },
      { dst: '10.2.0.0/16', gw: '10.88.0.77', priority: 77 },
      { dst: '10.3.0.0/16', table: 1003, mtu: 1300, advmss: 1200 },
      { dst: '10.4.0.0/16', scope: 253 },
      { dst: '0.0.0.0/0', gw: '10.88.0.78' },
    ];
    const { routes: told } = test.wiring.attach(specOf(1, { routes }));
    test.is(
      told.map(({ dst, gw }) => [dst, gw]),
      [
        ['10.1.0.0/16', '10.88.0.1'],
        ['10.2.0.0/16', '10.88.0.77'],
        ['10.3.0.0/16', '10.88.0.1'],
        ['10.4.0.0/16', undefined],
        ['0.0.0.0/0', '10.88.0.78'],
      ],
      'told',
    );
    const lines = sh('ip -n p1 route; ip -n p1 route show table 1003')
      .split('\n')
      .map(line => line.trim());
    for (const line of [
      'default via 10.88.0.78 dev eth0',
      '10.1.0.0/16 via 10.88.0.1 dev eth0',
      '10.2.0.0/16 via 10.88.0.77 dev eth0 metric 77',
      '10.3.0.0/16 via 10.88.0.1 dev eth0 mtu 1300 advmss 1200',
      '10.4.0.0/16 dev eth0 scope link',
    ])
      test.holds(lines.includes(line), `no route "${line}" in ${lines.join('; ')}`);
    test.is(test.wiring.check(specOf(1, { routes })), [], 'check');
  },
  A07(test) {
    const { interfaces } = test.wiring.attach(specOf(1, { mtu: 1400 }));
    test.is([hostLink('cni0').mtu, hostLink(interfaces[1]!.name).mtu, linkIn(1).mtu], [1400, 1400, 1400], 'MTUs');
    test.is(
      interfaces.map(({ mtu }) => mtu),
      [1400, 1400, 1400],
      'told',
    );
  },
  A08(test) {
    const { interfaces } = test.wiring.attach(specOf(1, { mac: '02:11:22:33:44:55' }));
    test.is([linkIn(1).address, interfaces[2]!.mac], ['02:11:22:33:44:55', '02:11:22:33:44:55'], 'MAC');
    sh('mount -t sysfs none /sys');
    test.is(
      sh(
        `cat /sys/class/net/${interfaces[1]!.name}/addr_assign_type; ip netns exec p1 cat /sys/class/net/eth0/addr_assign_type`,
      ),
      '3\n3\n',
      'addr_assign_type',
    );
    sh('umount /sys');
  },
  A09(test) {
    const spec = specOf(1, { vlan: 100, vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 210 }] });
    const before = snapshot();
    try {
      const { interfaces } = test.wiring.attach(spec);
      test.is(interfaces.length, 4, 'interfaces');
      test.is(addressesIn(undefined, 'cni0.100'), ['10.88.0.1/24'], 'gateway');
      const [port] = json(`bridge -j vlan show dev ${spec.hostLink}`);
      test.is(port.vlans[0], { vlan: 100, flags: ['PVID', 'Egress Untagged'] }, 'access');
      test.is(test.wiring.check(spec), [], 'check');
    } catch (error) {
      // A kernel whose bridges know no VLANs (CONFIG_BRIDGE_VLAN_FILTERING): said, and nothing is left.
      test.holds(
        error instanceof CniError && error.code === CODE.kernel && /ENOTSUP|EOPNOTSUPP/.test(error.message),
        String(error),
      );
      test.is(snapshot(), before, 'left');
    }
  },
  async A11(test) {
    const spec = (number: number) =>
      specOf(number, { isolated: true, hairpin: true, bridge: { ...BRIDGE, promisc: true } });
    const names = [1, 2].map(number => test.wiring.attach(spec(number)).interfaces[1]!.name);
    const { hairpin, isolated } = hostLink(names[0]!).linkinfo.info_slave_data;
    test.is([hairpin, isolated, hostLink('cni0').flags.includes('PROMISC')], [true, true, true], 'flags');
    const [other, gateway] = await knockFrom(await inPod(1, KNOCK), '10.88.0.3', '10.88.0.1');
    test.is([other, gateway! > 0], [-1, true], 'isolated from the other, not from the gateway');
  },
  A12(test) {
    test.wiring.attach(specOf(1, { up: false, addresses: [], isDefaultGateway: false }));
    test.is(linkIn(1).flags.includes('UP'), false, 'down');
    test.is(test.wiring.check(specOf(1, { up: false, addresses: [], isDefaultGateway: false })), [], 'check');
  },
  A13(test) {
    test.wiring.attach(specOf(1));
    const before = snapshot();
    test.refused(() => test.wiring.attach(specOf(1)), CODE.exists, 'the same again');
    test.refused(
      () => test.wiring.attach({ ...specOf(2), netns: '/run/netns/p1' }),
      CODE.exists,
      'another into the same',
    );
    test.is(snapshot(), before, 'as before');
  },
  A15(test) {
    sh('ip -n p1 link add eth0 type bridge');
    const before = snapshot();
    test.refused(() => test.wiring.attach(specOf(1)), CODE.exists, 'a foreign eth0');
    test.is(snapshot(), before, 'as before');
  },
  async A16(test) {
    sh('ip link add cni0 type bridge; ip addr add 10.88.0.1/24 dev cni0; ip link set cni0 up');
    const { ifindex, address } = hostLink('cni0');
    const state = () => [hostLink('cni0').ifindex, hostLink('cni0').address];
    const numbers = Array.from({ length: 20 }, (_, i) => i + 10);
    sh(numbers.map(number => `ip netns add p${number}`).join(';'));
    for (const number of numbers) {
      const { bridgeMac } = test.wiring.attach(specOf(number));
      test.is(bridgeMac, address, 'told');
    }
    test.is(state(), [ifindex, address], 'with ports');
    await Promise.all(numbers.map(number => test.wiring.detach(specOf(number))));
    test.is(state(), [ifindex, address], 'after them');
    sh(numbers.map(number => `ip netns del p${number}`).join(';'));
  },
  A17(test) {
    sh('ip link add cni0 type bridge; ip addr add 10.78.0.1/24 dev cni0; ip link set cni0 up');
    const before = snapshot();
    test.refused(() => test.wiring.attach(specOf(1)), CODE.bridgeConflict, 'another address');
    test.is([snapshot(), addressesIn(undefined, 'cni0')], [before, ['10.78.0.1/24']], 'as before');
    test.wiring.attach(specOf(1, { bridge: { ...BRIDGE, forceAddress: true } }));
    test.is(addressesIn(undefined, 'cni0'), ['10.88.0.1/24'], 'replaced');
    sh('ip addr add fd00:77::1/64 dev cni0');
    test.wiring.attach(dualOf(2));
    test.is(addressesIn(undefined, 'cni0').length, 3, 'another range of IPv6 stays');
  },
  async A18(test) {
    const attach = async (spec: LinkSpec) => {
      const { unsettled } = test.wiring.attach(spec);
      await test.wiring.settle(spec.netns, unsettled);
    };
    const first = await inPod(1, KNOCK);
    await attach(dualOf(1));
    const toGateway = await knockFrom(first, '10.88.0.1', 'fd00:88::1');
    const second = await inPod(2, KNOCK);
    await attach(dualOf(2));
    const toPod = await knockFrom(second, '10.88.0.2', 'fd00:88::2');
    await test.wiring.detach(dualOf(1));
    await attach(dualOf(1, { mac: '02:00:00:00:00:77' }));
    const fromHost = [await knock('10.88.0.2'), await knock('fd00:88::2')];
    for (const [what, times] of Object.entries({ toGateway, toPod, fromHost }))
      test.holds(
        times.every(ms => ms >= 0 && ms < 500), // nothing is waited for, nor sent again
        `${what}: ${times.join(' and ')} ms`,
      );
  },
  async C01(test) {
    const bandwidth = { ingressRate: 40e6, ingressBurst: 0xffff_ffff, egressRate: 20e6, egressBurst: 0 };
    test.wiring.attach(specOf(1, { bandwidth }));
    test.is(hasLink(shaperOf(specOf(1).hostLink)), true, 'a shaper');
    const queue = (link: string) => {
      const found = json(`tc -j qdisc show dev ${link}`).find((each: Json) => each.kind === 'tbf');
      return [found?.options.rate, found?.options.burst < 1e6];
    };
    // Bytes a second; what comes through is measured with the executable.
    test.is(queue(specOf(1).hostLink), [5e6, true], 'to the pod');
    test.is(queue(shaperOf(specOf(1).hostLink)), [2.5e6, true], 'from the pod');
    await test.wiring.detach(specOf(1));
    test.is(hasLink(shaperOf(specOf(1).hostLink)), false, 'no shaper after it');
  },
  async D01(test) {
    const before = snapshot();
    test.wiring.attach(dualOf(1));
    for (const times of [1, 2, 3]) {
      await test.wiring.detach(dualOf(1));
      test.is(snapshot(), before, `left after ${times}`);
    }
    await test.wiring.detach(dualOf(99));
  },
  async D02(test) {
    const before = snapshot([2]);
    const bandwidth = { ingressRate: 1e6, ingressBurst: 0, egressRate: 1e6, egressBurst: 0 };
    test.wiring.attach(specOf(1, { bandwidth }));
    sh('ip netns del p1');
    while (hasLink(specOf(1).hostLink)) await new Promise(resolve => setTimeout(resolve, 10));
    test.is(
      test.wiring.listOwn().map(({ id, index }) => [id, index]),
      [[{ network: 'kp', containerID: 'c1', ifname: 'eth0' }, 0]],
      'a shaper is left',
    );
    await test.wiring.detach(specOf(1));
    test.is(snapshot([2]), before, 'left');
    sh('ip netns add p1');
  },
  async D03(test) {
    test.wiring.attach(specOf(1));
    const { hostLink: name, alias } = specOf(1);
    test.is(
      test.wiring.listOwn().map(({ id, hostLink: own, isUp }) => [id, own, isUp]),
      [[{ network: 'kp', containerID: 'c1', ifname: 'eth0' }, name, true]],
      'told',
    );
    await test.wiring.detach({ hostLink: name, alias });
    test.is([hasLink(name), test.wiring.listOwn()], [false, []], 'gone');
    test.is(sh('ip -n p1 -o link').includes('eth0'), false, 'gone in the pod');
  },
  async D04(test) {
    test.wiring.attach(specOf(1));
    const before = snapshot();
    await test.wiring.detach(specOf(2));
    await test.wiring.detach({ hostLink: specOf(1).hostLink, alias: specOf(2).alias });
    test.is(snapshot(), before, 'as before');
    test.is((await knock('10.88.0.2')) >= 0, true, 'answers');
  },
  async D08(test) {
    for (const change of [
      'ip -n p1 link set eth0 down; ip -n p1 link set eth0 name other0; ip -n p1 addr add 1.2.3.4/32 dev other0',
      'ip -n p1 link set eth0 netns p2',
      'ip netns exec p1 tc qdisc add dev eth0 root tbf rate 1mbit burst 10kb latency 10ms',
    ]) {
      const before = snapshot();
      test.wiring.attach(specOf(1));
      sh(change);
      await test.wiring.detach(specOf(1));
      test.is(snapshot(), before, change);
    }
  },
  E09(test) {
    sh('touch /run/netns/file');
    for (const netns of ['/run/netns/none', '/run/netns/file'])
      test.refused(() => test.wiring.attach({ ...specOf(1), netns }), CODE.badEnvironment, netns);
    test.refused(
      () => test.wiring.attach({ ...specOf(1), netns: '/proc/self/ns/net' }),
      CODE.netnsIsHosts,
      "the host's",
    );
    test.is(sh('ip -o link').trim().split('\n').length, 1, 'links');
    sh('rm /run/netns/file');
  },
  E13(test) {
    sh('ip link add cni0 type ifb');
    const before = sh('ip -d -o link');
    test.refused(() => test.wiring.attach(specOf(1)), CODE.bridgeConflict, 'no bridge');
    test.is(sh('ip -d -o link'), before, 'as before');
  },
  async K03(test) {
    for (const [damage, problem] of [
      ['ip -n p1 link del eth0', /is gone|not in the pod/],
      ['ip -n p1 addr del 10.88.0.2/24 dev eth0', /lacks the address/],
      ['ip -n p1 route del default', /route to 0.0.0.0\/0/],
      [`ip link set ${specOf(1).hostLink} down`, /is down/],
      [`ip link set ${specOf(1).hostLink} nomaster`, /not on the bridge/],
      ['ip -n p1 link set eth0 down', /eth0 is down/],
      // K04
      ['ip addr del 10.88.0.1/24 dev cni0', /gateway's address/],
      ['ip link set cni0 down', /bridge cni0 is down/],
      ['ip link del cni0', /bridge cni0 is gone/],
    ] as const) {
      test.wiring.attach(specOf(1));
      test.is(test.wiring.check(specOf(1)), [], `before ${damage}`);
      sh(damage);
      const found = test.wiring.check(specOf(1));
      test.holds(
        found.some(text => problem.test(text)),
        `${damage}: ${found.join('; ')}`,
      );
      await test.wiring.detach(specOf(1));
    }
    test.holds(test.wiring.check({ ...specOf(1), netns: '/run/netns/none' }).length > 0, 'no namespace');
  },
  K06(test) {
    test.wiring.attach(specOf(1));
    sh(
      `ip -n p1 addr add 10.99.0.1/24 dev eth0; ip -n p1 route add 10.98.0.0/16 via 10.88.0.1; ip link set ${specOf(1).hostLink} address 02:aa:bb:cc:dd:ee`,
    );
    sh(
      `tc qdisc add dev ${specOf(1).hostLink} root tbf rate 10mbit burst 20kb latency 10ms; ip netns exec p1 sysctl -qw net.ipv4.conf.eth0.rp_filter=2`,
    );
    test.is(test.wiring.check(specOf(1)), [], 'additions of others');
  },
  async F11(test) {
    const bandwidth = { ingressRate: 1e6, ingressBurst: 0, egressRate: 1e6, egressBurst: 0 };
    const spec = dualOf(1, { bandwidth, routes: [{ dst: '10.1.0.0/16' }] });
    const libc = await loadLibc();
    const before = snapshot();
    for (let k = 1; k < 100; k += 1) {
      const faults = new Faults(k);
      using wiring = wiringOver({ ...faults.over(systemPorts(libc)) }, new Removals(libc));
      let refusal: unknown;
      try {
        wiring.attach(spec);
      } catch (error) {
        refusal = error;
      }
      if (refusal === undefined) {
        test.holds(k > 25, `only ${k} steps`);
        test.is(test.wiring.check(spec), [], 'without a fault');
        await test.wiring.detach(spec);
        return;
      }
      const code = faults.isAtDoor ? CODE.badEnvironment : CODE.kernel;
      test.holds(refusal instanceof CniError && refusal.code === code, `step ${k}: ${refusal}`);
      test.is(snapshot(), before, `left when step ${k} (${faults.at}) fails`);
    }
    test.problems.push('it never succeeds');
  },
  adopts(test) {
    const { hostLink: name, ifname } = specOf(1);
    test.wiring.attach(dualOf(1));
    const [host, pod] = [hostLink(name).ifindex, linkIn(1).ifindex];
    sh(`ip netns add twin; ip -n twin link add eth0 index ${pod} type veth peer name x index ${host}`);
    sh('ip -n twin addr add 198.18.2.2/24 dev eth0');
    const found = (namespace: string) => test.wiring.podOf(`/run/netns/${namespace}`, { hostLink: name, ifname });
    test.is(found('twin'), undefined, 'the same indexes in a namespace of others');
    test.is(found('p2'), undefined, 'a namespace without the link');
    test.is(
      found('p1')?.addresses.map(({ address }) => address),
      ['10.88.0.2/24', 'fd00:88::2/64'],
      'the pod',
    );
    test.is(test.wiring.podOf('/run/netns/p1', { hostLink: name, ifname: 'lo' }), undefined, 'another link of it');
    sh('ip netns del twin');
  },
  async many(test) {
    const numbers = Array.from({ length: 100 }, (_, i) => i + 10);
    sh(numbers.map(number => `ip netns add p${number}`).join(';'));
    const took = numbers.map(number => {
      const began = performance.now();
      test.wiring.attach(specOf(number));
      return performance.now() - began;
    });
    took.sort((a, b) => a - b);
    if (process.env.VERBOSE) console.error(`attach p50 ${took[50]!.toFixed(2)} p90 ${took[90]!.toFixed(2)} ms`);
    test.holds(took[50]! < 100, `attach takes ${took[50]} ms`);
    test.is(test.wiring.listOwn().length, 100, 'listed');
    const began = performance.now();
    await Promise.all(numbers.map(number => test.wiring.detach(specOf(number))));
    if (process.env.VERBOSE) console.error(`100 detached in ${(performance.now() - began).toFixed(1)} ms`);
    test.is(test.wiring.listOwn(), [], 'gone');
    const descriptors = () => Number(sh(`ls /proc/${process.pid}/fd | wc -l`));
    const open = descriptors();
    for (const _ of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) {
      test.wiring.attach(specOf(10));
      await test.wiring.detach(specOf(10));
    }
    // A link is told to be gone before its request is answered, whose socket is open until then.
    const until = performance.now() + 5000;
    while (descriptors() > open && performance.now() < until) await delay(50);
    // The kernel may still be busy with one; each of ten would have left one.
    test.holds(descriptors() < open + 10, `descriptors: ${descriptors()} after ${open}`);
    sh(numbers.map(number => `ip netns del p${number}`).join(';'));
  },
};

/** No kernel has that many types. */
const unknown = (request: RouteRequest): RouteRequest => ({ ...request, type: 4095, fine: [] });

/** The k-th step fails: a request is one that the kernel refuses instead, a setting is on a read-only file system. */
class Faults {
  at = '';
  isAtDoor = false;
  #left: number;

  constructor(k: number) {
    this.#left = k;
  }

  over<T extends WiringPorts>(ports: T): T {
    const sysctls = (of: WiringPorts['sysctls']) => ({
      read: (name: string) => of.read(name),
      write: (name: string, value: string) => {
        this.#step(`sysctl ${name}`, () => {
          throw Object.assign(new Error(`EROFS: ${name}`), { code: 'EROFS' });
        });
        of.write(name, value);
      },
    });
    return {
      ...ports,
      route: this.#kernel(ports.route),
      sysctls: sysctls(ports.sysctls),
      openPod: path => {
        this.#step('enter', () => {
          this.isAtDoor = true;
          throw Object.assign(new Error('EMFILE'), { code: 'EMFILE' });
        });
        const pod = ports.openPod(path);
        return {
          ...pod,
          route: this.#kernel(pod.route),
          within: work => pod.within(inside => work(sysctls(inside))),
          [Symbol.dispose]: () => pod[Symbol.dispose](),
        };
      },
    };
  }

  #kernel(route: RouteKernel): RouteKernel {
    return {
      send: requests =>
        route.send(
          requests.map(request => {
            let sent = request;
            this.#step(request.op, () => {
              sent = unknown(request);
            });
            return sent;
          }),
        ),
      dump: request => {
        this.#step(request.op, () => route.send([unknown(request)]));
        return route.dump(request);
      },
      close: () => route.close(),
    };
  }

  #step(what: string, fail: () => void): void {
    this.#left -= 1;
    if (this.#left !== 0) return;
    this.at = what;
    fail();
  }
}

async function runAll(): Promise<void> {
  const found: Record<string, readonly string[]> = {};
  const libc = await loadLibc();
  const wanted = process.argv.slice(2);
  for (const [name, body] of Object.entries(CASES)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    sh('for pod in p1 p2; do ip netns add $pod; ip -n $pod link set lo up; done');
    using wiring = wiringOver(systemPorts(libc), new Removals(libc));
    const test = new Case(wiring);
    if (process.env.VERBOSE) console.error(name);
    try {
      await body(test);
    } catch (error) {
      test.problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    found[name] = test.problems;
    await Promise.all(wiring.listOwn().map(owner => wiring.detach(owner)));
    sh('ip netns del p1; ip netns del p2; for link in cni0 cni1; do ip link del $link 2>&1; done; true');
  }
  console.log(JSON.stringify(found));
}

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) });
  const [code] = await once(worker, 'exit');
  process.exitCode = code;
} else {
  await runAll();
}
