import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { labCommand } from '../../src/lab/command.ts';
import { nodeProgram, projectDir } from '../../src/lab/install.ts';
import { createLab, type Lab, openLab } from '../../src/lab/lab.ts';
import { namespacePrefix, nodes, web } from '../../src/lab/layout.ts';
import { kernelHasIPv6, listNamespaces, obstacle } from '../../src/lab/netns.ts';
import { endProcesses, findMarked, startTimeOf } from '../../src/lab/process.ts';
import { type LabState, labDir, readState } from '../../src/lab/state.ts';
import { collectStatus } from '../../src/lab/status.ts';
import { tearDown } from '../../src/lab/tear-down.ts';
import { run } from '../../src/linux/exec.ts';
import { describeUnless } from './requires.ts';

const why = await obstacle();
const id = process.pid.toString(36);

/** What a lab of this name has left, and what the machine's own namespace looks like. */
async function traces(name: string) {
  const inRoot = async (...args: string[]) => (await run('ip', args)).stdout;
  return {
    namespaces: await listNamespaces(namespacePrefix(name)),
    processes: await findMarked(name),
    files: existsSync(labDir(name)),
    links: (await inRoot('-o', 'link')).replace(/^(\d+: \S+).*$/gm, '$1'),
    addresses: await inRoot('-o', 'addr', 'show', 'scope', 'global'),
    routes: await inRoot('route'),
    rules: await inRoot('rule'),
    forwarding: (await run('sysctl', ['net.ipv4.ip_forward', 'net.ipv4.conf.all.rp_filter'])).stdout,
  };
}

/** What is named without asking `ip`, which takes as long as the moment lasts. A machine's first namespace makes the directory. */
function namespaceEntries(): string[] {
  return existsSync('/run/netns') ? readdirSync('/run/netns') : [];
}

const nothing = { namespaces: [], processes: [], files: false };

describeUnless(why, 'a lab without daemons', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: `a${id}`, daemons: false });
  });
  afterAll(async () => {
    await lab.close();
  });

  test('pods of both nodes reach each other without address translation', async () => {
    for (const from of lab.pods) {
      for (const to of lab.pods.filter(pod => pod !== from)) {
        const { replies, failures } = await lab.probe(from.name, { address: to.ip, port: 8080 });
        expect(failures).toEqual([]);
        expect(replies[0]).toMatchObject({ pod: to.name, node: to.node, ip: to.ip, clientIP: from.ip });
      }
    }
  });

  test('an echo pod answers UDP, and HTTP as curl speaks it', async () => {
    const [one, other] = lab.pods;
    const udp = await lab.probe(one!.name, { address: other!.ip, port: 8080, protocol: 'udp', count: 20 });
    expect(udp.failures).toEqual([]);
    // A socket of its own each time; that the kernel gives two of twenty the same port happens once in 150 runs.
    expect(new Set(udp.replies.map(({ clientPort }) => clientPort)).size).toBeGreaterThan(15);
    const { stdout } = await lab.exec('node-a', ['curl', '-sf', `http://${other!.ip}:8080/`]);
    expect(JSON.parse(stdout)).toMatchObject({ pod: other!.name, clientIP: '192.168.77.11' });
  });

  test('a held connection echoes, line by line', async () => {
    const [one, other] = lab.pods;
    await using talk = await lab.talk(one!.name, other!.ip, 8080);
    expect(talk.peer.pod).toBe(other!.name);
    expect(await talk.say('first')).toBe('first');
    expect(await talk.say('second')).toBe('second');
  });

  test('the client reaches the nodes but no pod, and nothing gets out of the lab', async () => {
    const node = await lab.probe('client', { address: '192.168.77.12', port: 9 });
    expect(node.failures[0]?.error).toBe('ECONNREFUSED');
    const pod = await lab.probe('client', { address: lab.pods[0]!.ip, port: 8080 });
    expect(pod.failures[0]?.error).toBe('ENETUNREACH');
    for (const member of ['node-a', lab.pods[0]!.name]) {
      const outside = await lab.probe(member, { address: '192.0.2.1', port: 80, timeoutMs: 300 });
      expect(outside.replies).toEqual([]);
    }
  });

  test('without a proxy, the Service’s addresses answer nothing', async () => {
    const target = { address: '192.168.77.11', port: web.nodePort };
    expect((await lab.probe('client', target)).failures[0]?.error).toBe('ECONNREFUSED');
  });

  test('kubectl speaks to the API server from inside', async () => {
    const { stdout } = await lab.exec('control', ['kubectl', 'get', 'nodes', '-o', 'name']);
    expect(stdout).toBe('node/node-a\nnode/node-b\n');
  });

  test('the slices of the Service follow the pods as they come and go', async () => {
    const { pod } = await lab.addPod('node-b');
    expect(await endpointsOf(lab, pod.ip)).toContain(pod.ip);
    expect(lab.pods).toHaveLength(5);
    await lab.removePod(pod.name);
    expect(await endpointsOf(lab, '', addresses => !addresses.includes(pod.ip))).toHaveLength(4);
    expect(await listNamespaces(`${namespacePrefix(lab.name)}${pod.name}`)).toEqual([]);
  });

  test('status tells what is up', async () => {
    const status = await collectStatus(readState(lab.name)!);
    expect(status.nodes.map(({ name, zone, daemon }) => [name, zone, daemon])).toEqual([
      ['node-a', 'zone-a', 'none'],
      ['node-b', 'zone-b', 'none'],
    ]);
    expect(status.pods.map(({ isAlive }) => isAlive)).toEqual([true, true, true, true]);
    expect(status.services.find(({ name }) => name === 'web')).toMatchObject({
      type: 'NodePort',
      clusterIPs: lab.hasIPv6 ? [web.clusterIP, web.clusterIP6] : [web.clusterIP],
    });
  });

  test('a lab without IPv6 has none anywhere', async () => {
    await using other = await createLab({ name: `h${id}`, pods: 1, daemons: false, ipv6: false });
    expect(other.hasIPv6).toBe(false);
    expect(other.pods.map(({ ip6 }) => ip6)).toEqual(['']);
    const { body } = await other.api.get('/api/v1/namespaces/default/services/web');
    expect(body.spec).toMatchObject({ clusterIPs: [web.clusterIP], ipFamilies: ['IPv4'] });
    expect(await endpointsOf(other, other.pods[0]!.ip)).toHaveLength(1);
    expect((await other.exec('node-a', ['ip', '-6', 'addr', 'show', 'scope', 'global'])).stdout).toBe('');
  });

  test('a second lab of the name is refused while this one lives, another name works beside it', async () => {
    await expect(createLab({ name: lab.name, daemons: false })).rejects.toThrow('belongs to process');
    await using other = await createLab({ name: `b${id}`, pods: 1, daemons: false });
    expect((await other.probe('node-a', { address: '10.244.1.2', port: 8080 })).replies).toHaveLength(1);
  });
});

const lacking = why === '' && !kernelHasIPv6() ? 'this kernel has no IPv6' : why;

describeUnless(lacking, 'a lab over IPv6', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: `i${id}`, daemons: false });
  });
  afterAll(async () => {
    await lab.close();
  });

  test('the pods and nodes reach each other over IPv6 too, TCP and UDP, and see the client’s own address', async () => {
    const clients = [
      ...lab.pods.map(pod => [pod.name, pod.ip6] as const),
      ...nodes.map(n => [n.name, n.address6] as const),
    ];
    for (const [from, clientIP] of clients) {
      for (const to of lab.pods.filter(pod => pod.name !== from)) {
        const target = { address: to.ip6, port: 8080 };
        const [tcp, udp] = await Promise.all([
          lab.probe(from, target),
          lab.probe(from, { ...target, protocol: 'udp' }),
        ]);
        expect([...tcp.failures, ...udp.failures]).toEqual([]);
        // A node speaks to its own pods from its address on their bridge.
        const seen = nodes.find(n => n.name === from && n.name === to.node)?.gateway6 ?? clientIP;
        expect([...tcp.replies, ...udp.replies]).toMatchObject([
          { pod: to.name, clientIP: seen },
          { pod: to.name, clientIP: seen },
        ]);
      }
    }
    await using talk = await lab.talk(lab.pods[0]!.name, lab.pods[1]!.ip6, 8080);
    expect(await talk.say('over IPv6')).toBe('over IPv6');
  });

  test('the slices of the Service, the nodes and the pods have addresses of both families', async () => {
    for (const { ip, ip6 } of lab.pods) {
      expect(await endpointsOf(lab, ip)).toContain(ip);
      expect(await endpointsOf(lab, ip6)).toContain(ip6);
    }
    const { body } = await lab.api.get('/api/v1/namespaces/default/services/web');
    expect(body.spec).toMatchObject({ clusterIPs: [web.clusterIP, web.clusterIP6], ipFamilies: ['IPv4', 'IPv6'] });
    const [first] = await lab.api.list('/api/v1/nodes');
    expect(first).toMatchObject({
      spec: { podCIDRs: [nodes[0].podCIDR, nodes[0].podCIDR6] },
      status: {
        addresses: [{ address: nodes[0].address }, { address: nodes[0].address6 }, { address: nodes[0].name }],
      },
    });
  });

  test('the client reaches the nodes but no pod', async () => {
    const node = await lab.probe('client', { address: nodes[1].address6, port: 9 });
    expect(node.failures[0]?.error).toBe('ECONNREFUSED');
    const pod = await lab.probe('client', { address: lab.pods[0]!.ip6, port: 8080 });
    expect(pod.failures[0]?.error).toBe('ENETUNREACH');
  });
});

/** The addresses in the slices of `web` of one family (that of `ip`, else IPv4), once they hold `ip` or satisfy the predicate. */
async function endpointsOf(
  lab: Lab,
  ip: string,
  isDone = (addresses: string[]) => addresses.includes(ip),
): Promise<string[]> {
  const path = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices';
  const addressType = ip.includes(':') ? 'IPv6' : 'IPv4';
  for (const deadline = performance.now() + 5000; ; await delay(10)) {
    const slices = (await lab.api.list(path)) as unknown as {
      addressType: string;
      metadata: { labels: Record<string, string> };
      endpoints: { addresses: string[] }[];
    }[];
    const ours = slices.filter(
      slice => slice.metadata.labels['kubernetes.io/service-name'] === 'web' && slice.addressType === addressType,
    );
    const addresses = ours.flatMap(slice => slice.endpoints.flatMap(endpoint => endpoint.addresses));
    if (isDone(addresses) || performance.now() > deadline) return addresses;
  }
}

describeUnless(why, 'what a lab leaves behind', () => {
  test('up and down change nothing on the machine', async () => {
    const name = `c${id}`;
    const before = await traces(name);
    expect(before).toMatchObject(nothing);
    expect(await labCommand(['up', '--name', name, '--no-daemons', '--pods', '2'])).toBe(0);
    expect(await labCommand(['status', '--name', name])).toBe(0);
    expect(await labCommand(['up', '--name', name])).toBe(1);
    expect(openLab(name).pods).toHaveLength(2);
    expect(await labCommand(['exec', '--name', name, 'web-1', '--', 'sh', '-c', 'exit 7'])).toBe(7);
    expect(await labCommand(['down', '--name', name])).toBe(0);
    expect(await traces(name)).toEqual(before);
    expect(await labCommand(['down', '--name', name])).toBe(0);
    expect(await labCommand(['status', '--name', name])).toBe(1);
  });

  const moments: [string, (state: LabState | null, name: string) => boolean][] = [
    [
      'its first namespace',
      (_state, name) => namespaceEntries().some(entry => entry.startsWith(namespacePrefix(name))),
    ],
    ['the API server runs', state => state !== null && state.control !== null],
    ['pods are planned', state => state !== null && state.pods.length > 0],
    ['a pod runs', state => (state?.pods ?? []).some(pod => pod.process !== null)],
  ];

  test.for(moments)('kill -9 of `up` once %s: down removes the rest', async ([, isReached]) => {
    const name = `d${id}`;
    const before = await traces(name);
    const child = startUp(name);
    const deadline = performance.now() + 10_000;
    while (!isReached(readState(name), name)) {
      if (performance.now() > deadline) throw new Error('the moment never came');
      await delay(1);
    }
    await child.kill('SIGKILL');
    await tearDown(name);
    expect(await traces(name)).toEqual(before);
  });

  test('Ctrl-C during `up` removes what was made so far', async () => {
    const name = `e${id}`;
    const before = await traces(name);
    const child = startUp(name);
    while ((readState(name)?.pods.length ?? 0) === 0) await delay(1);
    expect(await child.kill('SIGINT')).toBe(130);
    expect(await traces(name)).toEqual(before);
  });

  test('only marked or recorded processes are ended: a recycled pid is a stranger', async () => {
    const stranger = spawn('sleep', ['60']);
    const startTime = (await startTimeOf(stranger.pid!)) ?? '';
    await endProcesses([{ pid: stranger.pid!, startTime: `${Number(startTime) - 1}` }]);
    expect(stranger.exitCode).toBeNull();
    expect(await startTimeOf(stranger.pid!)).toBe(startTime);
    stranger.kill('SIGKILL');
  });
});

describeUnless(why, 'daemons of a lab', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lab-daemon-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  /** A program that is started as the daemon is; `script` sees `config`, the text of its configuration. */
  function standIn(name: string, script: string): string {
    const file = join(directory, name);
    const config = "const config = require('node:fs').readFileSync(process.argv[4], 'utf8');";
    const wrapped = `#!${nodeProgram}\n${config}\n${script}\n`;
    writeFileSync(file, wrapped, { mode: 0o755 });
    return file;
  }

  test('start, are asked whether they are ready, restart, and are missed when dead', async () => {
    const server = "require('node:http').createServer((_, reply) => reply.end('ok')).listen(10256)";
    const daemonProgram = standIn('ready', `console.log(/hostnameOverride: (.*)/.exec(config)[1]); ${server}`);
    await using lab = await createLab({ name: `f${id}`, pods: 1, daemonProgram });
    const daemons = async () => (await collectStatus(readState(lab.name)!)).nodes.map(({ daemon }) => daemon);
    const pid = readState(lab.name)!.daemons['node-a']!.pid;
    expect(await daemons()).toEqual(['ready', 'ready']);
    await lab.restartDaemon('node-a', 'SIGKILL');
    expect(readState(lab.name)!.daemons['node-a']!.pid).not.toBe(pid);
    await lab.stopDaemon('node-b');
    expect(await daemons()).toEqual(['ready', 'dead']);
    expect(readFileSync(join(lab.directory, 'node-b.log'), 'utf8')).toBe('node-b\n');
  });

  test('that end early fail the lab with the end of their log, and nothing is left', async () => {
    const name = `g${id}`;
    const daemonProgram = standIn('dying', "console.log('no such table'); process.exitCode = 3;");
    await expect(createLab({ name, pods: 1, daemonProgram })).rejects.toThrow(
      /daemon of node-[ab] exited with status 3\nthe end of .*\n {2}no such table/,
    );
    expect(await traces(name)).toMatchObject(nothing);
  });
});

function startUp(name: string) {
  const argv = JSON.stringify(['up', '--name', name, '--no-daemons']);
  const command = `${projectDir}/src/lab/command.ts`;
  const script = `import { labCommand } from '${command}'; process.exitCode = await labCommand(${argv});`;
  const child = spawn(nodeProgram, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  const ended = new Promise<number | null>(resolve => child.on('exit', resolve));
  return {
    kill(signal: NodeJS.Signals): Promise<number | null> {
      child.kill(signal);
      return ended;
    },
  };
}
