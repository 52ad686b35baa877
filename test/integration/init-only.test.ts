import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { run } from '../../src/linux/exec.ts';
import { describeLab } from './daemon-lab.ts';

const program = fileURLToPath(new URL('../../bin/kproxy-ts', import.meta.url));
const NAMES = [
  'net/netfilter/nf_conntrack_tcp_timeout_established',
  'net/netfilter/nf_conntrack_tcp_timeout_close_wait',
  'net/netfilter/nf_conntrack_tcp_be_liberal',
  'net/netfilter/nf_conntrack_udp_timeout',
  'net/ipv4/conf/all/route_localnet',
];

/** Runs it in a network namespace of its own, where `before` ran; the log's messages and what the kernel has then. */
async function init(flags: readonly string[], before = 'true') {
  const script = `${before} && ${program} run --init-only --proxy-mode=iptables --cluster-cidr=10.244.0.0/16 ${flags.join(' ')} && cd /proc/sys && cat ${NAMES.join(' ')}; PATH=/usr/sbin:$PATH iptables-nft-save -t filter | grep -c -e '-j KUBE-PROXY-LOCALNET' || true`;
  const { stdout } = await run('unshare', ['--net', '--mount', 'sh', '-ec', script]);
  const lines = stdout.trim().split('\n');
  const isGuarded = lines.pop() === '1';
  const log = lines.slice(0, -NAMES.length).map(line => JSON.parse(line) as { level: string; msg: string });
  return {
    log: log.map(({ level, msg }) => `${level} ${msg}`),
    values: lines.slice(-NAMES.length).map(Number),
    isGuarded,
  };
}

describeLab('run --init-only', () => {
  it("makes kube-proxy's settings and ends; what belongs to the whole machine is named, and no error", async () => {
    const { log, values, isGuarded } = await init(['--conntrack-max-per-core=1000', '--conntrack-min=1001']);
    // What route_localnet would open is shut before it is set.
    expect(isGuarded).toBe(true);
    expect(values).toEqual([86_400, 3600, 0, 30, 1]);
    expect(log).toEqual([
      expect.stringMatching(
        /^info kernel settings written: nf_conntrack_tcp_timeout_established \d+ → 86400, nf_conntrack_tcp_timeout_close_wait \d+ → 3600, net\.ipv4\.conf\.all\.route_localnet 0 → 1$/,
      ),
      // Only the machine's own network namespace may.
      expect.stringMatching(
        /^warn kernel settings are not in effect: nf_conntrack_max \d+ \(it stays \d+\): this process may not write it$/,
      ),
      'info the privileged set-up is done',
    ]);
  });

  it('leaves what is 0 or false as it is, and sets what else is asked for', async () => {
    const { log, values } = await init([
      '--conntrack-max-per-core=0',
      '--conntrack-tcp-timeout-established=0s',
      '--conntrack-tcp-timeout-close-wait=0s',
      '--conntrack-tcp-be-liberal',
      '--conntrack-udp-timeout=40s',
      '--iptables-localhost-nodeports=false',
    ]);
    expect(values.slice(2)).toEqual([1, 40, 0]);
    expect(log).toEqual([
      'info kernel settings written: nf_conntrack_tcp_be_liberal 0 → 1, nf_conntrack_udp_timeout 30 → 40',
      'info the privileged set-up is done',
    ]);
  });

  it('routes nothing to 127.0.0.0/8 where the network cannot be kept away from it', async () => {
    const withoutTools = 'mount -t tmpfs none /usr/sbin';
    const { log, values } = await init(['--conntrack-max-per-core=0'], withoutTools);
    expect(values.at(-1)).toBe(0);
    expect(log).toContainEqual(expect.stringMatching(/^warn the network cannot be kept away from 127\.0\.0\.0\/8/));
  });

  it('names what a read-only /proc/sys keeps from it, in one line, and does not fail', async () => {
    const readOnly = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys';
    const { log, values } = await init(['--conntrack-max-per-core=0'], readOnly);
    expect(values.at(-1)).toBe(0);
    expect(log).toEqual([
      expect.stringMatching(
        /^warn kernel settings are not in effect: nf_conntrack_tcp_timeout_established 86400 \(it stays \d+\): it is mounted read-only; .*route_localnet 1 \(it stays 0\): it is mounted read-only$/,
      ),
      'info the privileged set-up is done',
    ]);
  });
});
