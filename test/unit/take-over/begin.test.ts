import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseConfiguration } from '../../../src/config/load.ts';
import type { ProxyMode } from '../../../src/config/proxy-modes.ts';
import { beginTakeOver, TakeOverError } from '../../../src/take-over/begin.ts';

const HEADER = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.0.0.0/8\n';
let runtimeDir = '';

beforeEach(async () => {
  runtimeDir = await mkdtemp(join(tmpdir(), 'kproxy-begin-'));
});
afterEach(() => rm(runtimeDir, { recursive: true }));

const loadedFrom = (text: string) => parseConfiguration(HEADER + text, 'proxy.yaml', {});
const begin = (text: string, layout?: ProxyMode, alive: string[] = []) =>
  beginTakeOver({
    loaded: loadedFrom(text),
    runtimeDir,
    findAlive: async () => alive,
    findLayout: async () => layout,
  });

it.each([
  ['nftables', '', 'primary'],
  ['nftables', 'mode: iptables', 'primary'],
  ['nftables', 'mode: nftables', 'primary'],
  ['nftables', 'nodePortAddresses: [10.0.0.0/24]', ['10.0.0.0/24']],
  ['iptables', 'mode: nftables', ['0.0.0.0/0', '::/0']],
  ['iptables', 'mode: nftables\nnodePortAddresses: [primary]', 'primary'],
  ['iptables', '', []],
] as const)(
  'after kube-proxy in %s mode, %j means NodePorts at %j; a changed file too, and the next start',
  async (layout, text, meant) => {
    for (const here of [layout, undefined]) {
      const { keepMeaning } = await begin(text, here);
      expect(keepMeaning(loadedFrom(text)).configuration.nodePortAddresses).toEqual(meant);
      const changed = keepMeaning(loadedFrom('mode: iptables\nnodePortAddresses: [10.1.0.0/16]'));
      expect(changed.configuration.nodePortAddresses).toEqual(['10.1.0.0/16']);
    }
  },
);

it('a warning tells what to write, where the meaning would be another', async () => {
  expect((await begin('mode: iptables', 'nftables')).warning).toContain('means ["primary"]');
  expect((await begin('mode: nftables', 'iptables')).warning).toContain('means ["0.0.0.0/0","::/0"]');
  expect((await begin('mode: nftables', 'nftables')).warning).toBeUndefined();
  expect((await begin('', 'iptables')).warning).toBeUndefined();
  expect((await begin('mode: iptables\nnodePortAddresses: [primary]', 'nftables')).warning).toBeUndefined();
});

it('where kube-proxy never was, nothing is another than written', async () => {
  const { keepMeaning, what, warning } = await begin('mode: nftables');
  const loaded = loadedFrom('mode: nftables');
  expect(keepMeaning(loaded)).toBe(loaded);
  expect(what).toBe('nothing of kube-proxy is here to be taken over');
  expect(warning).toBeUndefined();
});

it('a living kube-proxy is named in an error, and nothing is noted', async () => {
  await expect(begin('', 'iptables', ['process 12 (kube-proxy)'])).rejects.toThrow(TakeOverError);
  expect((await begin('mode: nftables')).warning).toBeUndefined();
});
