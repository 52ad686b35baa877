import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Configuration } from '../../src/config/configuration.ts';
import { parseConfiguration } from '../../src/config/load.ts';
import { createLogger } from '../../src/log.ts';
import { LiveConfiguration } from '../../src/reload.ts';

const HEADER = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';

let directory = '';
let path = '';
let stop: AbortController;
let messages: string[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kpx-reload-'));
  path = join(directory, 'config.yaml');
  stop = new AbortController();
  messages = [];
});
afterEach(() => {
  stop.abort();
  rmSync(directory, { recursive: true });
});

/** A configuration that follows its file, and what its parts were told. */
async function follow(text: string, parts: readonly ((next: Configuration) => void | Promise<void>)[] = []) {
  writeFileSync(path, text);
  const live = new LiveConfiguration(parseConfiguration(text, path));
  const told: Configuration[] = [];
  const write = (line: string) => messages.push((JSON.parse(line) as { msg: string }).msg);
  const log = createLogger({ level: 'info', destination: { write } });
  const file = { path, parse: parseConfiguration };
  const following = await live.follow({
    file,
    parts: [...parts, next => void told.push(next)],
    log,
    signal: stop.signal,
  });
  return { live, told, following };
}

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 5000, interval: 5 });

describe('LiveConfiguration', () => {
  test('what can change live does, what only a start puts into effect stays', async () => {
    const before = 'hostnameOverride: a\nbindAddress: 192.0.2.1\nmode: iptables\niptables: { syncPeriod: 30s }\n';
    const { live, told, following } = await follow(`${HEADER}${before}`);
    await using _following = following;
    const after =
      'hostnameOverride: b\nbindAddress: "2001:db8::1"\nmode: ""\niptables: { syncPeriod: 10s, masqueradeAll: true }\n';
    const node =
      '---\napiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\niptables: { variant: legacy }\nwatch: { endpoints: Endpoints }\n';
    writeFileSync(path, `${HEADER}${after}${node}`);
    await eventually(() => expect(told).toHaveLength(1));
    expect(told[0]).toBe(live.configuration);
    expect(live.configuration).toMatchObject({
      nodeName: 'a',
      bindAddress: '192.0.2.1',
      endpointsFrom: 'Endpoints',
      iptables: { syncPeriodMs: 10_000, masqueradeAll: true, variant: 'auto' },
    });
    // /configz tells the same.
    expect(live.fields.kubeProxy).toMatchObject({ hostnameOverride: 'a', bindAddress: '192.0.2.1', mode: 'iptables' });
    expect(live.fields.node).toMatchObject({ iptables: { variant: 'auto' }, watch: { endpoints: 'Endpoints' } });
    expect(messages.join('\n')).toContain('hostnameOverride: a → b (at the next start)');
  });

  test('a part that fails keeps no other from its change, and is named', async () => {
    const fail = () => Promise.reject(new Error('kubeconfig: no such file'));
    const { told, following } = await follow(HEADER, [fail]);
    await using _following = following;
    writeFileSync(path, `${HEADER}oomScoreAdj: 5\n`);
    await eventually(() => expect(messages.join('\n')).toContain('kubeconfig: no such file'));
    expect(told.map(({ oomScoreAdj }) => oomScoreAdj)).toEqual([5]);
  });

  test('a file that is wrong changes nothing', async () => {
    const { live, told, following } = await follow(`${HEADER}oomScoreAdj: 5\n`);
    await using _following = following;
    writeFileSync(path, `${HEADER}oomScoreAdj: many\n`);
    await eventually(() => expect(messages.join('\n')).toContain('is refused'));
    expect([told, live.configuration.oomScoreAdj]).toEqual([[], 5]);
  });
});
