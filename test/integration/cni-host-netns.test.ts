import { execFileSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { obstacle } from '../../src/lab/netns.ts';
import { ended, HostLab } from './cni-host-lab.ts';
import { describeUnless } from './requires.ts';

let lab: HostLab;
beforeAll(() => {
  lab = new HostLab();
});
afterAll(() => lab.remove());

describeUnless(await obstacle(), 'network namespaces that the plugin is given', () => {
  it('the identity of a network namespace is that of its file, and other files have none', async () => {
    const file = join(lab.directory, 'plain-netns');
    writeFileSync(file, '');
    execFileSync('mkfifo', [join(lab.directory, 'fifo')]);
    const own = statSync('/proc/self/ns/net');
    const paths = [
      '/proc/self/ns/net',
      file,
      '/missing',
      '',
      '/proc/self/ns/mnt',
      join(lab.directory, 'fifo'),
      lab.directory,
      `${file}/x`,
    ];
    const gave = await lab.ask(paths.map(path => ({ name: 'netnsIdentity', args: [path] })));
    const missing = { returned: { failure: 'missing', message: expect.any(String) } };
    const other = { returned: { failure: 'not-a-namespace', message: 'Invalid argument' } };
    const identity = { returned: `${own.dev}:${own.ino}` };
    expect(gave).toEqual([identity, other, missing, missing, other, other, other, missing]);
  });

  it('a bound namespace has the identity of that namespace, whatever it is called', async () => {
    const bound = join(lab.directory, 'bound');
    writeFileSync(bound, '');
    const said = await lab.askWithin(`mount --bind /proc/self/ns/net ${bound}; stat -L -c %d:%i ${bound}`, [
      { name: 'netnsIdentity', args: [bound] },
      { name: 'netnsIdentity', args: ['/proc/self/ns/net'] },
    ]);
    const [identity, gave] = said.split('\n');
    expect(JSON.parse(gave!)).toEqual([{ returned: identity }, { returned: identity }]);
  });

  /** In a namespace that has another one, bound at a file. */
  async function loopbackOf(preparation: string, isUp: boolean | undefined): Promise<[unknown, string]> {
    const bound = join(lab.directory, 'bound');
    writeFileSync(bound, '');
    const said = await lab.askWithin(
      `mount --bind /proc/self/ns/net ${bound}; ${preparation}\nexport bound=${bound}`,
      [{ name: 'loopback', args: [bound, ...(isUp === undefined ? [] : [isUp])] }],
      'echo; ip -o link show lo',
    );
    const [gave, link] = said.split('\n');
    return [JSON.parse(gave!)[0], /state (\w+)/.exec(link!)![1]!];
  }

  it('lo is read, set up and set down, twice too, and its IPv6 is seen', async () => {
    expect(await loopbackOf('', undefined)).toEqual([{ returned: { isUp: false, hasIPv6: false } }, 'DOWN']);
    expect(await loopbackOf('', true)).toEqual([{ returned: { isUp: true, hasIPv6: true } }, 'UNKNOWN']);
    expect(await loopbackOf('ip link set lo up', true)).toEqual([
      { returned: { isUp: true, hasIPv6: true } },
      'UNKNOWN',
    ]);
    expect(await loopbackOf('ip link set lo up', false)).toEqual([
      { returned: { isUp: false, hasIPv6: false } },
      'DOWN',
    ]);
    const withoutIPv6 = 'sysctl -qw net.ipv6.conf.lo.disable_ipv6=1';
    expect(await loopbackOf(withoutIPv6, true)).toEqual([{ returned: { isUp: true, hasIPv6: false } }, 'UNKNOWN']);
  });

  it('lo of another namespace than ours is set, not ours', async () => {
    const bound = join(lab.directory, 'bound');
    const within = [
      'unshare',
      '--mount',
      '--net',
      'sh',
      '-ec',
      `touch ${bound}; mount --bind /proc/self/ns/net ${bound}
      unshare --net sh -ec '"$0"; echo; ip -o link show lo' "$0"; ip -o link show lo`,
      lab.program,
    ];
    const { stdout } = await ended(lab.start([{ name: 'loopback', args: [bound, true] }], {}, within));
    const [, ours, theirs] = stdout.split('\n');
    expect([ours, theirs].map(link => link!.includes('<LOOPBACK,UP'))).toEqual([false, true]);
  });

  it('lo of what is no namespace is an error that names it', async () => {
    expect(
      await lab.ask([
        { name: 'loopback', args: ['/missing'] },
        { name: 'loopback', args: [lab.program] },
      ]),
    ).toEqual([
      { thrown: 'cannot open the network namespace /missing: No such file or directory' },
      { thrown: `cannot open the network namespace ${lab.program}: Invalid argument` },
    ]);
  });
});
