import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { obstacle } from '../../src/lab/netns.ts';
import type { Call, Gave } from './cni-host-main.ts';
import { describeUnless } from './requires.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const NOBODY = 65_534;
const MB = 1_000_000;

let directory = '';
let program = '';
const servers: Server[] = [];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cni-host-'));
  chmodSync(directory, 0o755);
  program = join(directory, 'host');
  execFileSync(process.execPath, [here('../../scripts/build-cni.mjs'), here('./cni-host-main.ts'), program]);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

function start(calls: readonly Call[], options: SpawnOptions = {}, command = [program]): ChildProcess {
  const env = { ...process.env, ASK: JSON.stringify(calls) };
  return spawn(command[0]!, command.slice(1), { stdio: 'pipe', ...options, env: { ...env, ...options.env } });
}

async function ended(child: ChildProcess): Promise<Ended> {
  const [stdout, stderr, [status]] = await Promise.all([
    child.stdout === null ? '' : text(child.stdout),
    child.stderr === null ? '' : text(child.stderr),
    once(child, 'exit'),
  ]);
  return { status, stdout, stderr };
}

async function ask(calls: readonly Call[], input: string | Buffer = '', options: SpawnOptions = {}): Promise<Gave[]> {
  const child = start(calls, options);
  child.stdin!.on('error', () => undefined); // it needn't read all
  child.stdin!.end(input);
  const { status, stdout, stderr } = await ended(child);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout);
}

async function askOne(name: Call['name'], args: readonly unknown[] = [], input: string | Buffer = ''): Promise<Gave> {
  return (await ask([{ name, args }], input))[0]!;
}

const read = (maxBytes: number, timeoutMs = 5000): Call => ({ name: 'readStdin', args: [{ maxBytes, timeoutMs }] });

describe('the standard input of the plugin', () => {
  it('is read to its end, 5 MB of it too', async () => {
    expect(await ask([read(6 * MB)], `${'a'.repeat(5 * MB)}end`)).toEqual([
      { returned: { length: 5 * MB + 3, end: 'end' } },
    ]);
    expect(await ask([read(10)], '0123456789')).toEqual([{ returned: '0123456789' }]);
    expect(await ask([read(10)], '')).toEqual([{ returned: '' }]);
  });

  it('is refused when it is longer than the limit', async () => {
    expect(await ask([read(10)], '0123456789a')).toEqual([
      { returned: { failure: 'too-large', message: 'File too large' } },
    ]);
  });

  it('is given up when nobody closes it', async () => {
    const child = start([read(10, 200)]);
    child.stdin!.write('{');
    const { stdout } = await ended(child);
    expect(JSON.parse(stdout)).toEqual([{ returned: { failure: 'timeout', message: 'Operation timed out' } }]);
  });

  it('may be no UTF-8, have zeros, or end within a character', async () => {
    const bytes = Buffer.from([0x61, 0xff, 0x00, 0xc3, 0xa9, 0xf0, 0x9f]);
    const [gave] = await ask([read(10)], bytes);
    expect(gave).toEqual({ returned: expect.stringMatching(/^a\ufffd\0é\ufffd+$/u) });
  });

  it('may be closed from the start: no file that is opened later takes its place', async () => {
    const command = ['sh', '-c', 'exec "$0" <&-', program];
    const { stdout } = await ended(start([read(10)], {}, command));
    expect(JSON.parse(stdout)).toEqual([{ returned: { failure: 'io', message: 'Bad file descriptor' } }]);
  });
});

describe('the standard output of the plugin', () => {
  it('is written whole to a slow reader', async () => {
    const child = start([{ name: 'writeStdout', args: [{ letters: 3 * MB }] }]);
    const { stdout } = await ended(child);
    expect(stdout.slice(3 * MB)).toBe('[{"returned":true}]');
  });

  it('is known to be lost when nobody reads, when it is closed, and when the disk is full', async () => {
    const nobody = start([{ name: 'writeStdout', args: ['x'] }]);
    nobody.stdout!.destroy();
    const [status] = await once(nobody, 'exit');
    const closed = await ended(start([], {}, ['sh', '-c', 'exec "$0" >&-', program]));
    const full = await ended(start([], {}, ['sh', '-c', 'exec "$0" >/dev/full', program]));
    expect([status, closed.status, full.status]).toEqual([9, 9, 9]);
  });
});

describe('an error that nobody caught', () => {
  it('is one CNI error on the standard output, and words on the standard error', async () => {
    const { status, stdout, stderr } = await ended(start([{ name: 'throw', args: ['of "mine"\n'] }]));
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({ cniVersion: '1.1.0', code: 5, msg: 'RangeError: of "mine"\n' });
    expect(stderr).toMatch(/^kproxy-cni: RangeError: of "mine"/);
  });

  it('comes after a result only in words', async () => {
    const { stdout, stderr } = await ended(
      start([
        { name: 'writeStdout', args: ['{}'] },
        { name: 'throw', args: ['x'] },
      ]),
    );
    expect({ stdout, stderr }).toEqual({ stdout: '{}', stderr: expect.stringContaining('RangeError: x') });
  });

  it('is what a JSON text of a million levels ends in', async () => {
    const { status, stdout } = await ended(start([{ name: 'recurse', args: [MB] }]));
    expect([status, JSON.parse(stdout).code]).toEqual([1, 5]);
  });
});

describe('what the plugin knows of its process', () => {
  it('has the variables, the name it was called by, pid and user', async () => {
    const names: Call[] = [{ name: 'environment' }, { name: 'program' }, { name: 'uid' }, { name: 'pid' }];
    const child = start(names, { uid: NOBODY, env: { CNI_ARGS: 'a=b=c' } });
    const [environment, ...others] = JSON.parse((await ended(child)).stdout);
    expect(environment.returned).toMatchObject({ CNI_ARGS: 'a=b=c' });
    expect(others).toEqual([{ returned: program }, { returned: NOBODY }, { returned: child.pid }]);
  });
});

describe('the exchange with the agent', () => {
  const path = () => join(directory, 'socket');

  async function serve(talk: (socket: Socket) => void): Promise<void> {
    const server = createServer(socket => {
      socket.on('error', () => socket.destroy());
      talk(socket);
    });
    servers.push(server);
    server.listen(path());
    await once(server, 'listening');
  }

  const exchange = (line: unknown = 'hello', timeoutMs = 5000) => askOne('exchange', [path(), line, timeoutMs]);
  const failure = (kind: string) => ({ returned: { failure: kind, message: expect.any(String) } });

  it('sends a line and gives the one that comes, in pieces too', async () => {
    await serve(socket => {
      socket.once('data', line => {
        socket.write(`got ${line}`.slice(0, 3));
        setTimeout(() => socket.write(`got ${line}more`.slice(3)), 50);
      });
    });
    expect(await exchange('"é"')).toEqual({ returned: 'got "é"' });
  });

  it('does so with lines of 16 MiB both ways', async () => {
    const size = 16 << 20;
    await serve(socket => {
      let count = 0;
      socket.on('data', chunk => {
        count += chunk.length;
        if (chunk.at(-1) === 10) socket.end(`${'y'.repeat(size)}${count - size}\n`);
      });
    });
    expect(await exchange({ letters: size })).toEqual({ returned: { length: size + 1, end: 'yy1' } });
  });

  it('understands an agent that answers and closes before it has read everything', async () => {
    await serve(socket => {
      socket.once('data', () => socket.write('too long\n', () => socket.destroy()));
    });
    expect(await exchange({ letters: 16 << 20 })).toEqual({ returned: 'too long' });
  });

  it('is absent without a socket, with a file or a directory in its place, and with a name too long', async () => {
    expect(await exchange()).toEqual({ returned: { failure: 'absent', message: 'No such file or directory' } });
    writeFileSync(path(), '');
    expect(await exchange()).toEqual({ returned: { failure: 'absent', message: 'Connection refused' } });
    rmSync(path());
    expect(await askOne('exchange', [`${path()}/below`, '', 100])).toEqual(failure('absent'));
    expect(await askOne('exchange', [`/${'x'.repeat(200)}`, '', 100])).toEqual(failure('absent'));
  });

  it('is absent when the listener has died and left its socket', async () => {
    const code = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    await once(spawn(process.execPath, ['-e', code, path()]), 'exit');
    expect(await exchange()).toEqual({ returned: { failure: 'absent', message: 'Connection refused' } });
    rmSync(path());
  });

  it('is denied to another user', async () => {
    await serve(() => undefined);
    chmodSync(path(), 0o600);
    const [gave] = await ask([{ name: 'exchange', args: [path(), 'x', 100] }], '', { uid: NOBODY });
    expect(gave).toEqual({ returned: { failure: 'denied', message: 'Permission denied' } });
  });

  it('has a limit of time with an agent that says nothing, reads nothing, or ends no line', async () => {
    await serve(socket => socket.write('half'));
    expect(await exchange('x', 200)).toEqual(failure('timeout'));
    expect(await exchange({ letters: 4 * MB }, 200)).toEqual(failure('timeout'));
  });

  it('tells that the agent closed without an answer', async () => {
    await serve(socket => socket.end('half'));
    expect(await exchange()).toEqual(failure('closed'));
    expect(await exchange({ letters: 4 * MB })).toEqual(failure('closed'));
  });

  it('waits for its turn while the backlog is full, until the limit', async () => {
    const listener = spawn(process.execPath, [here('./cni-host-full.ts'), path()], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(listener.stdout!, 'data');
    const waiting: Socket[] = [];
    const isRefused = () => {
      const socket = connect(path());
      waiting.push(socket);
      return once(socket, 'connect').then(
        () => false,
        () => true, // EAGAIN
      );
    };
    while (!(await isRefused()));
    expect(await exchange('x', 200)).toEqual(failure('timeout'));
    const child = start([{ name: 'exchange', args: [path(), 'x', 5000] }]);
    setTimeout(() => listener.stdin!.write('.'), 100);
    expect(JSON.parse((await ended(child)).stdout)).toEqual([{ returned: 'late' }]);
    for (const socket of waiting) socket.destroy();
    listener.stdin!.end();
    await once(listener, 'exit');
    rmSync(path(), { force: true });
  });
});

describe('programs that the plugin runs', () => {
  function script(name: string, body: string): string {
    const path = join(directory, name);
    writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    return path;
  }

  it('get the standard input and give their output, 5 MB both ways', async () => {
    expect(await askOne('execute', [script('echo', 'cat; exit 3'), { letters: 5 * MB }])).toEqual({
      returned: { status: 3, stdout: { length: 5 * MB, end: 'xxx' } },
    });
  });

  it('need not read, may say much first, and their standard error is ours', async () => {
    const talker = script('talker', 'head -c 3000000 /dev/zero | tr "\\0" y; echo words >&2');
    const { stdout, stderr } = await ended(start([{ name: 'execute', args: [talker, { letters: 5 * MB }] }]));
    expect(JSON.parse(stdout)).toEqual([{ returned: { status: 0, stdout: { length: 3 * MB, end: 'yyy' } } }]);
    expect(stderr).toBe('words\n');
  });

  it('have our environment, where overrides win, and the usual SIGPIPE', async () => {
    const tell = script('tell', 'echo "$CNI_COMMAND $CNI_IFNAME $NEW"; grep SigIgn /proc/self/status');
    const child = start([{ name: 'execute', args: [tell, '', { CNI_COMMAND: 'DEL', NEW: 'n' }] }], {
      env: { CNI_COMMAND: 'ADD', CNI_IFNAME: 'eth0' },
    });
    const [{ returned }] = JSON.parse((await ended(child)).stdout);
    expect(returned).toEqual({ status: 0, stdout: expect.stringMatching(/^DEL eth0 n\nSigIgn:\t0{16}\n$/) });
  });

  it('tell how a signal ended them', async () => {
    expect(await askOne('execute', [script('killed', 'kill -9 $$'), ''])).toEqual({
      returned: { status: 137, stdout: '' },
    });
  });

  it('that are none are told from those that are', async () => {
    const file = join(directory, 'plain');
    writeFileSync(file, 'not a program', { mode: 0o644 });
    const wrong = join(directory, 'wrong');
    writeFileSync(wrong, '\x7fELF', { mode: 0o755 });
    const calls = [file, wrong, directory, '/missing', '/bin/true'];
    expect(
      (await ask(calls.map(path => ({ name: 'isExecutable', args: [path] })))).map(
        gave => 'returned' in gave && gave.returned,
      ),
    ).toEqual([false, true, false, false, true]);
    expect(await ask([file, wrong, '/missing'].map(path => ({ name: 'execute', args: [path, ''] })))).toEqual([
      { returned: { failure: 'io', message: 'Permission denied' } },
      { returned: { failure: 'io', message: 'Exec format error' } },
      { returned: { failure: 'io', message: 'No such file or directory' } },
    ]);
  });
});

describe('a file that the plugin leaves', () => {
  it('is there whole, replaces its predecessor, in directories of 0700, and nothing else is', async () => {
    const place = join(directory, 'made/for/it');
    const write = (content: unknown): Call => ({ name: 'writeDurably', args: [place, 'a.json', content] });
    expect(await ask([write('old'), write({ letters: 100_000 })])).toEqual([{}, {}]);
    expect(readFileSync(join(place, 'a.json'), 'utf8')).toBe('x'.repeat(100_000));
    expect(readdirSync(place)).toEqual(['a.json']);
    expect([place, join(directory, 'made'), join(place, 'a.json')].map(path => statSync(path).mode & 0o777)).toEqual([
      0o700, 0o700, 0o600,
    ]);
  });

  it('is not there when it cannot be: a file in the way of the directory, a name with a path', async () => {
    const file = join(directory, 'in-the-way');
    writeFileSync(file, '');
    expect(await askOne('writeDurably', [join(file, 'below'), 'a', 'x'])).toEqual({
      thrown: `cannot write ${file}/below/a: Not a directory`,
    });
    expect(await askOne('writeDurably', [directory, '../a', 'x'])).toEqual({
      thrown: expect.stringContaining('cannot write'),
    });
    expect(existsSync(join(directory, '../a'))).toBe(false);
  });
});

describeUnless(await obstacle(), 'with a disk or a namespace of its own', () => {
  /** Runs a shell's preparations in a mount and a network namespace, and then the calls. */
  async function askWithin(preparation: string, calls: readonly Call[], after = ''): Promise<string> {
    const command = ['unshare', '--mount', '--net', 'sh', '-ec', `${preparation}\n"$0"\n${after}`, program];
    const { status, stdout, stderr } = await ended(start(calls, {}, command));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return stdout;
  }

  it('F06 a full disk is an error with the system’s words, and leaves nothing of the file', async () => {
    const disk = join(directory, 'disk');
    mkdirSync(disk);
    const said = await askWithin(
      `mount -t tmpfs -o size=64k tmpfs ${disk}`,
      [{ name: 'writeDurably', args: [disk, 'a', { letters: MB }] }],
      `echo; ls -A ${disk} | wc -l`,
    );
    expect(said).toBe(`[{"thrown":"cannot write ${disk}/a: No space left on device"}]\n0\n`);
  });

  it('F06 so is a disk that is read-only', async () => {
    const disk = join(directory, 'disk');
    const said = await askWithin(`mount -t tmpfs -o ro tmpfs ${disk}`, [
      { name: 'writeDurably', args: [disk, 'a', 'x'] },
      { name: 'writeDurably', args: [`${disk}/new`, 'a', 'x'] },
    ]);
    const words = 'Read-only file system';
    expect(JSON.parse(said)).toEqual([
      { thrown: `cannot write ${disk}/a: ${words}` },
      { thrown: `cannot write ${disk}/new/a: ${words}` },
    ]);
  });

  it('the identity of a network namespace is that of its file, and other files have none', async () => {
    const file = join(directory, 'plain-netns');
    writeFileSync(file, '');
    execFileSync('mkfifo', [join(directory, 'fifo')]);
    const own = statSync('/proc/self/ns/net');
    const paths = [
      '/proc/self/ns/net',
      file,
      '/missing',
      '',
      '/proc/self/ns/mnt',
      join(directory, 'fifo'),
      directory,
      `${file}/x`,
    ];
    const gave = await ask(paths.map(path => ({ name: 'netnsIdentity', args: [path] })));
    const missing = { returned: { failure: 'missing', message: expect.any(String) } };
    const other = { returned: { failure: 'not-a-namespace', message: 'Invalid argument' } };
    const identity = { returned: `${own.dev}:${own.ino}` };
    expect(gave).toEqual([identity, other, missing, missing, other, other, other, missing]);
  });

  it('a bound namespace has the identity of that namespace, whatever it is called', async () => {
    const bound = join(directory, 'bound');
    writeFileSync(bound, '');
    const said = await askWithin(`mount --bind /proc/self/ns/net ${bound}; stat -L -c %d:%i ${bound}`, [
      { name: 'netnsIdentity', args: [bound] },
      { name: 'netnsIdentity', args: ['/proc/self/ns/net'] },
    ]);
    const [identity, gave] = said.split('\n');
    expect(JSON.parse(gave!)).toEqual([{ returned: identity }, { returned: identity }]);
  });

  /** In a namespace that has another one, bound at a file. */
  async function loopbackOf(preparation: string, isUp: boolean | undefined): Promise<[unknown, string]> {
    const bound = join(directory, 'bound');
    writeFileSync(bound, '');
    const said = await askWithin(
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
    const bound = join(directory, 'bound');
    const within = [
      'unshare',
      '--mount',
      '--net',
      'sh',
      '-ec',
      `touch ${bound}; mount --bind /proc/self/ns/net ${bound}
      unshare --net sh -ec '"$0"; echo; ip -o link show lo' "$0"; ip -o link show lo`,
      program,
    ];
    const { stdout } = await ended(start([{ name: 'loopback', args: [bound, true] }], {}, within));
    const [, ours, theirs] = stdout.split('\n');
    expect([ours, theirs].map(link => link!.includes('<LOOPBACK,UP'))).toEqual([false, true]);
  });

  it('lo of what is no namespace is an error that names it', async () => {
    expect(
      await ask([
        { name: 'loopback', args: ['/missing'] },
        { name: 'loopback', args: [program] },
      ]),
    ).toEqual([
      { thrown: 'cannot open the network namespace /missing: No such file or directory' },
      { thrown: `cannot open the network namespace ${program}: Invalid argument` },
    ]);
  });
});
