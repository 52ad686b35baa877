import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { diff } from '../../src/backends/diff.ts';
import { createIptablesBackend, IPTABLES_NFT } from '../../src/backends/iptables/backend.ts';
import { IPTABLES_DUMP } from '../../src/backends/iptables/dump-format.ts';
import { IPTABLES } from '../../src/backends/iptables/mode.ts';
import { endpointChain } from '../../src/backends/iptables/names.ts';
import { planAll } from '../../src/backends/route-changes.ts';
import { dumpCommand } from '../../src/dump/command.ts';
import { daemonDump } from '../../src/dump/from-model.ts';
import { DUMP_PATH, dumpRoute, SOCKET_NAME } from '../../src/dump/server.ts';
import type { DumpState } from '../../src/dump/state.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { serveSocket } from '../../src/http/socket.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { type RunOptions, run } from '../../src/linux/exec.ts';
import { IPTABLES_OPTIONS, service, slice, snapshot } from '../fakes/objects.ts';
import { describeUnless } from './requires.ts';

const NETNS = `kpx-dump-${process.pid}`;
const node = { name: 'node-a', zone: '' };
const inNetns = (file: string, args: readonly string[] = [], options: RunOptions = {}) =>
  run(file, args, { ...options, netns: NETNS });
const backend = createIptablesBackend(() => IPTABLES_OPTIONS, { tools: IPTABLES_NFT, run: inNetns });

const ports = [
  { name: 'http', protocol: 'TCP' as const, port: 80, nodePort: 30080 },
  { name: 'dns', protocol: 'UDP' as const, port: 53, nodePort: 0 },
];
const snap = snapshot(
  [service({ ports, externalIPs: ['192.0.2.1'] }), service({ name: 'idle', clusterIPs: ['10.96.0.11'] })],
  [slice({ ports: ports.map(({ name, protocol, port }) => ({ name, protocol, port: port + 8000 })) })],
);
const model = updateModel(emptyModel('IPv4', node), snap, snap.services.keys(), node);

async function program(): Promise<void> {
  const before = await backend.read();
  const { failures } = await backend.apply(diff(before, planAll(backend, model)), before);
  expect(failures).toEqual([]);
}

async function deleteRule(table: string, chain: string, number: number): Promise<void> {
  await inNetns('iptables-nft', ['-t', table, '-D', chain, String(number)]);
}

const lacking = await obstacle();

describeUnless(lacking, 'dump on this kernel', () => {
  let runtimeDir = '';
  beforeAll(async () => {
    runtimeDir = mkdtempSync(join(tmpdir(), 'kpx-dump-'));
    await run('ip', ['netns', 'add', NETNS]);
  });
  afterAll(async () => {
    await run('ip', ['netns', 'del', NETNS]);
    rmSync(runtimeDir, { recursive: true });
  });

  async function dump(services: readonly string[] = [], output: 'table' | 'json' = 'table') {
    const written: string[] = [];
    const complaints: string[] = [];
    const status = await dumpCommand(
      { services, output, runtimeDir },
      {
        run: inNetns,
        modes: [IPTABLES],
        write: text => void written.push(text),
        complain: text => void complaints.push(text),
        hasColours: false,
      },
    );
    return { status, text: written.join(''), complaints: complaints.join('') };
  }

  const startServer = () =>
    serveSocket(join(runtimeDir, SOCKET_NAME), {
      [DUMP_PATH]: dumpRoute(async () => {
        const observed = { ...backend, dump: IPTABLES_DUMP };
        const view = {
          family: 'IPv4',
          model,
          backend: observed,
          kernel: await backend.read(),
          isMoving: false,
        } as const;
        return daemonDump({ node: 'node-a', mode: 'iptables', families: [view], pause: setImmediate });
      }),
    });

  it('an empty kernel has no Services', async () => {
    const { status, text, complaints } = await dump();
    expect(complaints).toBe(`no daemon at ${runtimeDir}/daemon.sock; showing what the kernel has\n`);
    expect([status, text.split('\n').length]).toEqual([0, 3]);
  });

  it('shows the Services from the kernel alone, and a jump that was deleted by hand', async () => {
    await program();
    const { text } = await dump();
    expect(text).toMatch(/^default\/idle:http +TCP +10\.96\.0\.11:80 +<none> +1 there$/m);
    expect(text).toMatch(
      /^default\/web:dns +UDP +10\.96\.0\.10:53,192\.0\.2\.1:53 +10\.244\.1\.2:8053,10\.244\.2\.2:8053 +\d+ there$/m,
    );
    expect(text).toMatch(/^default\/web:http +TCP +10\.96\.0\.10:80,\*:30080,192\.0\.2\.1:80 +10\.244\.1\.2:8080,/m);
    expect(text).not.toContain('missing');
    await deleteRule('nat', 'PREROUTING', 1);
    expect((await dump()).text).toContain('missing  nat  -A PREROUTING');
  });

  it('finds every rule there when a daemon tells what is desired, and the one that was deleted by hand missing', async () => {
    await program();
    await using _server = await startServer();
    const healthy = await dump();
    expect(healthy).toMatchObject({ status: 0, complaints: '' });
    expect(healthy.text.match(/ ok$/gm)).toHaveLength(4);
    const chain = endpointChain('default/web:http', 'tcp', '10.244.2.2:8080');
    await deleteRule('nat', chain, 2);
    expect((await dump()).text).toMatch(/^default\/web:http .* 1 missing$/m);
    const { text } = await dump(['default/web']);
    expect(text.match(/^ +missing .*$/gm)).toEqual([
      expect.stringMatching(`nat  -A ${chain} .* DNAT --to-destination 10.244.2.2:8080$`),
    ]);
    await program();
    expect((await dump()).text.match(/ ok$/gm)).toHaveLength(4);
  });

  it('finds what others put among the rules of a Service', async () => {
    await using _server = await startServer();
    const chain = endpointChain('default/web:http', 'tcp', '10.244.1.2:8080');
    await inNetns('iptables-nft', ['-t', 'nat', '-I', chain, '-s', '203.0.113.1', '-j', 'RETURN']);
    const { text } = await dump(['web'], 'json');
    const [family] = (JSON.parse(text) as DumpState).families;
    expect(family?.services.map(({ port, state }) => [port, state])).toEqual([
      ['dns', 'ok'],
      ['http', 'differs'],
    ]);
    const strange = family?.services.flatMap(({ rules }) => rules).filter(({ state }) => state !== 'ok');
    expect(strange).toEqual([{ table: 'nat', chain, rule: '-s 203.0.113.1/32 -j RETURN', state: 'unexpected' }]);
  });

  it('names a Service that is not there', async () => {
    expect(await dump(['default/nope'])).toMatchObject({
      status: 1,
      text: '',
      complaints: expect.stringContaining('default/nope: the kernel has no rules for such a Service'),
    });
  });
});
