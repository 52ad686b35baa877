import { expect, it } from 'vitest';
import { find, read, remove } from '../../../../src/backends/iptables/kube-proxy.ts';
import { toolsOf } from '../../../../src/backends/iptables/tools.ts';
import { ExecError, type run } from '../../../../src/linux/exec.ts';
import { createLogger } from '../../../../src/log.ts';
import { GONE, type KubeProxyNode } from '../../../fakes/kube-proxy.ts';
import { kubeletRules, kubeProxyIptables } from '../../../fakes/kube-proxy-iptables.ts';

const log = createLogger({ level: 'fatal' });
const node: KubeProxyNode = {
  family: 'IPv4',
  clusterCIDR: '10.244.0.0/16',
  services: [{ ...GONE.IPv4, name: 'default/web:http', clusterIP: '10.96.0.80', nodePort: 30080 }, GONE.IPv4],
};

/** Programs of one variant that print these tables; what is restored is kept. */
function kernel(text: string, { variant = 'nft', more = '' } = {}) {
  const restored: string[] = [];
  const tools = toolsOf(variant === 'nft' ? 'nft' : 'legacy', 'IPv4');
  const io: typeof run = async (file, args = [], options = {}) => {
    if (file === tools.restore) restored.push(String(options.input));
    else if (file !== tools.save) throw missing(file);
    // As iptables-save prints it.
    const saved = (text + more).replaceAll('--or-mark 0x4000', '--set-xmark 0x4000/0x4000');
    const wanted = args[0] === '-t' ? args[1] : undefined;
    const sections = saved.split(/^(?=\*)/m).filter(part => wanted === undefined || part.startsWith(`*${wanted}\n`));
    options.onOutput?.(Buffer.from(sections.join('')));
    return { stdout: sections.join(''), stderr: '' };
  };
  return { run: io, restored };
}

function missing(file: string): ExecError {
  const failure = { exitCode: -1, stdout: '', stderr: '', isNotFound: true, isTimeout: false, cause: undefined };
  return new ExecError(file, failure);
}

it.each(['nft', 'legacy'])('what kube-proxy left in iptables-%s is found and read', async variant => {
  const { run: io } = kernel(kubeletRules(true) + kubeProxyIptables(node), { variant });
  expect(await find({ run: io })).toEqual(['IPv4']);
  expect(await read('IPv6', { run: io })).toBeUndefined();
  expect(await read('IPv4', { run: io })).toEqual({
    layout: 'iptables',
    services: new Set(['default/web:http/TCP', 'old/gone:http/TCP']),
    nodePortAddresses: 'all',
    hasLocalhostNodePorts: true,
    masqueradeBit: 14,
  });
});

it('addresses of NodePorts are told', async () => {
  const { run: io } = kernel(kubeProxyIptables({ ...node, nodePortAddresses: ['10.0.0.5/32', '10.1.0.5/32'] }));
  expect(await read('IPv4', { run: io })).toMatchObject({
    nodePortAddresses: ['10.0.0.5/32', '10.1.0.5/32'],
    hasLocalhostNodePorts: false,
  });
});

it('rules that we adopted are not kube-proxy’s any more, and the kubelet’s never are', async () => {
  const ours = '*filter\n:KUBE-PROXY-LOCALNET - [0:0]\nCOMMIT\n';
  expect(await find({ run: kernel(kubeProxyIptables(node), { more: ours }).run })).toEqual([]);
  expect(await find({ run: kernel(kubeletRules(true)).run })).toEqual([]);
});

it('its canaries go, in every table, once', async () => {
  const { run: io, restored } = kernel(kubeProxyIptables(node));
  await remove('IPv6', { log, run: io });
  expect(restored).toEqual([]);
  await remove('IPv4', { log, run: io });
  const line = ':KUBE-PROXY-CANARY - [0:0]\n-X KUBE-PROXY-CANARY\nCOMMIT\n';
  expect(restored).toEqual([['mangle', 'nat', 'filter'].map(table => `*${table}\n${line}`).join('')]);
});
