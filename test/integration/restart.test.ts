import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { apiPort, healthzPort, nodes, web } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  answers,
  ask,
  awaitUsed,
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  enoughFor,
  eventually,
  fromPod,
  handlesOf,
  labName,
  logLines,
  masqueradedAt,
  rulesOf,
  servicesPath,
  setEndpoints,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA] = nodes;
const tcp = bothProtocols.slice(0, 1);
const clusterIP = { address: web.clusterIP, port: web.port };
const nodePort = { address: nodeA.address, port: web.nodePort };

describeLab('a daemon that restarts', () => {
  let lab: Lab;
  let onA: PodState;
  let onB: PodState;

  beforeAll(async () => {
    lab = await createLab({ name: labName('re') });
    [onA, onB] = lab.pods as [PodState, PodState];
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
  });
  afterAll(async () => {
    await lab.close();
  });

  /** `web` answers new connections by cluster IP and nodePort through the first node, each pod of it. */
  async function expectWeb(): Promise<void> {
    const count = enoughFor(lab.pods.length);
    const [inside, outside] = await Promise.all([
      ask(lab, onA.name, { ...clusterIP, count }),
      ask(lab, 'client', { ...nodePort, count }),
    ]);
    expect(inside).toEqual(answers(lab.pods, fromPod(onA)));
    expect(outside).toEqual(answers(lab.pods, masqueradedAt(nodeA)));
  }

  async function healthOf(route: string): Promise<{ status: number; body: string }> {
    const url = `http://127.0.0.1:${healthzPort}${route}`;
    const { stdout } = await lab.exec(nodeA.name, ['curl', '-s', '-w', '\n%{http_code}', url]);
    const end = stdout.lastIndexOf('\n');
    return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
  }

  test.for([
    ['SIGTERM', 1],
    ['SIGKILL', 2],
  ] as const)('by %s: connections live on, new ones work meanwhile, what changed is made up for', async ([how, n]) => {
    const gone = { name: `gone-${n}`, clusterIP: `10.96.4.1${n}`, ports: withNodePort(30410 + n) };
    const moved = { name: `moved-${n}`, clusterIP: `10.96.4.2${n}`, ports: tcp };
    const late = { name: `late-${n}`, clusterIP: `10.96.4.3${n}`, ports: withNodePort(30430 + n) };
    await createService(lab, gone, [endpoint(onB)]);
    await createService(lab, moved, [endpoint(onB)]);
    await awaitUsed(lab, { service: `default/${gone.name}`, pods: [onB] });
    await awaitUsed(lab, { service: `default/${moved.name}`, pods: [onB] });
    await using toCluster = await lab.talk(onA.name, clusterIP.address, clusterIP.port);
    await using toNode = await lab.talk('client', nodePort.address, nodePort.port);
    await using toGone = await lab.talk(onA.name, gone.clusterIP, 80);
    const talks = [toCluster, toNode, toGone];
    const sayAll = (word: string) => Promise.all(talks.map(talk => talk.say(word)));

    await lab.stopDaemon(nodeA.name, how);
    await lab.api.delete(`${servicesPath()}/${gone.name}`);
    await setEndpoints(lab, moved.name, [endpoint(onA)]);
    await createService(lab, late, [endpoint(onB)]);
    expect(await sayAll('nobody home')).toEqual(talks.map(() => 'nobody home'));
    await expectWeb();
    expect(await rulesOf(lab, nodeA.name)).toContain(`default/${gone.name}`);

    // Ready means that all of it is made up for: no waiting here.
    await lab.startDaemon(nodeA.name);
    const rules = await rulesOf(lab, nodeA.name);
    expect(rules).not.toContain(`default/${gone.name}`);
    expect(rules).toContain(`default/${late.name}`);
    const from = onA.name;
    expect(await ask(lab, from, { address: gone.clusterIP, port: 80, timeoutMs: 300 })).toEqual(['timeout']);
    expect(await ask(lab, from, { address: moved.clusterIP, port: 80, count: 50 })).toEqual(
      answers([onA], masqueradedAt(nodeA)),
    );
    expect(await ask(lab, from, { address: late.clusterIP, port: 80 })).toEqual(answers([onB], fromPod(onA)));
    const outside = await ask(lab, 'client', { address: nodeA.address, port: 30430 + n, protocol: 'udp' });
    expect(outside).toEqual(answers([onB], masqueradedAt(nodeA)));
    await expectWeb();
    expect(await sayAll('welcome back')).toEqual(talks.map(() => 'welcome back'));
  });

  test.for(['SIGTERM', 'SIGKILL'] as const)('by %s, without changes: not one rule is written again', async how => {
    const before = await handlesOf(lab, nodeA.name);
    const logged = logLines(lab, nodeA.name).length;
    await lab.restartDaemon(nodeA.name, how);
    expect(await handlesOf(lab, nodeA.name)).toBe(before);
    const syncs = logLines(lab, nodeA.name)
      .slice(logged)
      .filter(({ component }) => component === 'backend');
    expect(new Set(syncs.map(({ msg }) => msg))).toEqual(new Set(['the kernel already had every rule']));
  });

  test('while the API server is out of reach the rules stay as they are, and the daemon says what it waits for', async () => {
    const door = ['INPUT', '-s', nodeA.address, '-p', 'tcp', '--dport', String(apiPort), '-j', 'REJECT'];
    const gone = { name: 'gone-3', clusterIP: '10.96.4.13', ports: tcp };
    await createService(lab, gone, [endpoint(onB)]);
    await awaitUsed(lab, { service: 'default/gone-3', pods: [onB] });
    await lab.stopDaemon(nodeA.name);
    await lab.exec('control', ['iptables-nft', '-I', ...door, '--reject-with', 'tcp-reset']);
    await lab.api.delete(`${servicesPath()}/gone-3`);
    const before = await handlesOf(lab, nodeA.name);
    const logged = logLines(lab, nodeA.name).length;

    const starting = lab.startDaemon(nodeA.name);
    const complaints = () =>
      logLines(lab, nodeA.name)
        .slice(logged)
        .filter(({ msg }) => msg.includes('trying again, what is known stays'));
    // Three kinds are tried again and again; that is said once.
    await eventually(() => expect(complaints()).toHaveLength(1));
    await eventually(async () => expect(await healthOf('/livez')).toMatchObject({ status: 200 }));
    const { status, body } = await healthOf('/readyz');
    expect(status).toBe(503);
    expect(JSON.parse(body)).toMatchObject({
      ready: false,
      missing: [
        {
          part: 'cluster',
          reason: expect.stringMatching(/^no complete list of .* yet: the API server has said nothing yet$/),
        },
        { part: 'IPv4', reason: 'not programmed yet' },
        ...(lab.hasIPv6 ? [{ part: 'IPv6', reason: 'not programmed yet' }] : []),
      ],
      apiServer: { lastContact: null },
    });
    expect(await handlesOf(lab, nodeA.name)).toBe(before);
    expect(await ask(lab, onA.name, { address: '10.96.4.13', port: 80 })).toEqual(answers([onB], fromPod(onA)));
    await expectWeb();

    await lab.exec('control', ['iptables-nft', '-D', ...door, '--reject-with', 'tcp-reset']);
    await starting;
    expect(await healthOf('/readyz')).toMatchObject({ status: 200 });
    const messages = logLines(lab, nodeA.name)
      .slice(logged)
      .map(({ msg }) => msg);
    expect(messages.filter(msg => msg.startsWith('the API server answers again after'))).toHaveLength(1);
    expect(complaints()).toHaveLength(1);
    expect(await rulesOf(lab, nodeA.name)).not.toContain('default/gone-3');
    await expectWeb();
  });
});
