import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { IPTABLES } from '../../../src/backends/iptables/mode.ts';
import type { Mode } from '../../../src/backends/mode.ts';
import { collectDump } from '../../../src/dump/collect.ts';
import { dumpCommand } from '../../../src/dump/command.ts';
import { DUMP_PATH, dumpRoute, SOCKET_NAME } from '../../../src/dump/server.ts';
import type { DumpState } from '../../../src/dump/state.ts';
import { serveSocket } from '../../../src/http/socket.ts';
import { FakeIptables } from '../../fakes/iptables.ts';
import { CLUSTER, dumpOf, kernelOf } from './fixtures.ts';

const STATE = await dumpOf(CLUSTER, kernelOf(CLUSTER));

/** A mode that can be asked and has nothing. */
const NOTHING_THERE: Pick<Mode, 'name' | 'readFamilies'> = { name: 'nftables', readFamilies: async () => [] };

let runtimeDir = '';
let socketPath = '';
beforeEach(() => {
  runtimeDir = mkdtempSync(join(tmpdir(), 'kpx-dump-'));
  socketPath = join(runtimeDir, SOCKET_NAME);
});
afterEach(() => rmSync(runtimeDir, { recursive: true }));

const start = (state: () => Promise<DumpState> | DumpState = () => STATE) =>
  serveSocket(socketPath, { [DUMP_PATH]: dumpRoute(state) });

/** The command on a fake kernel: its exit status, and what it wrote where. */
async function command(services: readonly string[] = [], output: 'table' | 'json' = 'json', askTimeoutMs = 5000) {
  const kernel = new FakeIptables();
  kernel.isMissing = services.includes('no-tool');
  let out = '';
  let err = '';
  const status = await dumpCommand(
    { services, output, runtimeDir },
    {
      run: kernel.run,
      modes: services.includes('nothing') ? [NOTHING_THERE, IPTABLES] : [IPTABLES],
      askTimeoutMs,
      write: text => {
        out += text;
      },
      complain: text => {
        err += text;
      },
      hasColours: false,
    },
  );
  return { status, out, err };
}

describe('dump on the socket', () => {
  it('tells what the daemon tells, to root alone, and goes with it', async () => {
    {
      await using _server = await start();
      expect(statSync(socketPath).mode & 0o777).toBe(0o600);
      expect(await collectDump({ runtimeDir })).toEqual({ state: STATE, note: '' });
    }
    expect(existsSync(socketPath)).toBe(false);
  });

  it('shares one reading among those who ask at the same time', async () => {
    let readings = 0;
    const { promise, resolve } = Promise.withResolvers<DumpState>();
    await using _server = await start(() => {
      readings += 1;
      return promise;
    });
    const asking = [collectDump({ runtimeDir }), collectDump({ runtimeDir })];
    await new Promise(done => setTimeout(done, 100));
    resolve(STATE);
    await Promise.all(asking);
    expect(readings).toBe(1);
  });
});

describe('dumpCommand', () => {
  it('prints what the daemon tells', async () => {
    await using _server = await start();
    const { status, out, err } = await command();
    expect([status, JSON.parse(out), err]).toEqual([0, STATE, '']);
  });

  it('says which named Service is not there, shows the others, and fails', async () => {
    await using _server = await start();
    const { status, out, err } = await command(['web', 'nope']);
    expect(status).toBe(1);
    expect(err).toContain('nope: no such Service');
    const shown = JSON.parse(out) as DumpState;
    expect(shown.families[0]?.services.map(({ name }) => name)).toEqual(['web']);
    expect(await command(['nope'])).toMatchObject({ status: 1, out: '' });
  });

  it('asks the kernel when no daemon answers, and says so', async () => {
    const { status, out, err } = await command([], 'table');
    expect([status, err]).toEqual([0, `no daemon at ${socketPath}; showing what the kernel has\n`]);
    expect(out).toContain('(shared)');
  });

  it('says which tool is missing when nobody can be asked', async () => {
    const { status, out, err } = await command(['no-tool']);
    expect([status, out]).toEqual([1, '']);
    expect(err).toBe(`no daemon at ${socketPath}, and the kernel can't be asked: iptables-nft-save: no such program\n`);
  });

  it('says what could not be asked when nothing is found elsewhere', async () => {
    const { status, err } = await command(['nothing', 'no-tool']);
    expect(status).toBe(1);
    expect(err).toMatch(/; showing what the kernel has; iptables-nft-save: no such program\n/);
  });

  it('passes on why the daemon cannot tell', async () => {
    await using _server = await start(() => Promise.reject(new Error('iptables-nft-save: no such program')));
    expect(await command()).toEqual({
      status: 1,
      out: '',
      err: `the daemon at ${socketPath} can't tell: iptables-nft-save: no such program\n`,
    });
  });

  it('does not wait forever for a daemon that hangs', async () => {
    await using _server = await start(() => new Promise<DumpState>(() => undefined));
    const { status, err } = await command([], 'table', 100);
    expect([status, err]).toEqual([
      0,
      `the daemon at ${socketPath} didn't answer for 0.1 s; showing what the kernel has\n`,
    ]);
  });
});
