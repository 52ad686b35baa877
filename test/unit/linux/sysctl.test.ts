import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { conntrackHashsize, conntrackSysctls } from '../../../src/conntrack/settings.ts';
import { settingsWriter } from '../../../src/linux/sysctl.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

const MAX = '/proc/sys/net/netfilter/nf_conntrack_max';
const HASHSIZE = '/sys/module/nf_conntrack/parameters/hashsize';
const ESTABLISHED = '/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'sysctl-'));
});
afterEach(() => rm(root, { recursive: true }));

async function put(file: string, value: number): Promise<void> {
  await mkdir(dirname(root + file), { recursive: true });
  await writeFile(root + file, `${value}\n`);
}
const get = (file: string) => readFile(root + file, 'utf8');

const wanted = [
  ...conntrackSysctls({ maxPerCore: 32_768, min: 131_072, tcpEstablishedTimeoutMs: 86_400_000 }, 8),
  ...conntrackHashsize({ maxPerCore: 32_768, min: 131_072 }, 8),
];

describe('the kernel settings', () => {
  it('are written where they differ, and lowered too, as kube-proxy does; the hash table only grows', async () => {
    await put(MAX, 500_000);
    await put(HASHSIZE, 65_536);
    await put(ESTABLISHED, 432_000);
    const log = recordedLog();
    const write = settingsWriter({ log, root });
    await write(wanted);
    expect([await get(MAX), await get(HASHSIZE), await get(ESTABLISHED)]).toEqual(['262144', '65536\n', '86400']);
    expect(log.lines).toEqual([
      'info kernel settings written: nf_conntrack_max 500000 → 262144, nf_conntrack_tcp_timeout_established 432000 → 86400',
    ]);
    await write(wanted);
    expect(log.lines).toHaveLength(1);
    await put(HASHSIZE, 1024);
    await write(wanted);
    expect(log.lines.slice(1)).toEqual(['info kernel settings written: nf_conntrack hashsize 1024 → 65536']);
  });

  it('that cannot be made are named once, and the others are made', async () => {
    await put(MAX, 65_536);
    await put(ESTABLISHED, 432_000);
    const log = recordedLog();
    const write = settingsWriter({ log, root });
    await write(wanted);
    await write(wanted);
    expect(log.lines).toEqual([
      'info kernel settings written: nf_conntrack_max 65536 → 262144, nf_conntrack_tcp_timeout_established 432000 → 86400',
      'warn kernel settings are not in effect: nf_conntrack hashsize 65536: this kernel has no such setting',
    ]);
  });

  it('are asked for once more when the kernel has loaded what they belong to', async () => {
    await put(HASHSIZE, 65_536);
    await put(MAX, 262_144);
    const log = recordedLog();
    await settingsWriter({ log, root, load: () => put(ESTABLISHED, 86_400) })(wanted);
    expect(log.lines).toEqual([]);
    await rm(root + ESTABLISHED);
    await settingsWriter({ log, root, load: () => Promise.reject(new Error('IPCTNL_MSG_CT_GET: errno 1')) })(wanted);
    expect(log.lines).toEqual([
      'warn kernel settings are not in effect: nf_conntrack_tcp_timeout_established 86400: IPCTNL_MSG_CT_GET: errno 1',
    ]);
  });

  it('name the value that stays', async () => {
    await put(MAX, 65_536);
    const log = recordedLog();
    const file = '/proc/version'; // nobody can write it, and it isn't a number
    await settingsWriter({ log })([{ name: 'version', file, value: 1 }]);
    expect(log.lines).toEqual([
      expect.stringMatching(/^warn kernel settings are not in effect: version 1 \(it stays Linux .*\): /),
    ]);
    await chmod(root + MAX, 0o644);
  });
});
