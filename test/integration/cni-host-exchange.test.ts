import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ended, HostLab, here, MB, NOBODY } from './cni-host-lab.ts';

let lab: HostLab;
beforeAll(() => {
  lab = new HostLab();
});
afterAll(() => lab.remove());

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

describe('the exchange with the agent', () => {
  const path = () => join(lab.directory, 'socket');

  async function serve(talk: (socket: Socket) => void): Promise<void> {
    const server = createServer(socket => {
      socket.on('error', () => socket.destroy());
      talk(socket);
    });
    servers.push(server);
    server.listen(path());
    await once(server, 'listening');
  }

  const exchange = (line: unknown = 'hello', timeoutMs = 5000) => lab.askOne('exchange', [path(), line, timeoutMs]);
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
    expect(await lab.askOne('exchange', [`${path()}/below`, '', 100])).toEqual(failure('absent'));
    expect(await lab.askOne('exchange', [`/${'x'.repeat(200)}`, '', 100])).toEqual(failure('absent'));
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
    const [gave] = await lab.ask([{ name: 'exchange', args: [path(), 'x', 100] }], '', { uid: NOBODY });
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
    const child = lab.start([{ name: 'exchange', args: [path(), 'x', 5000] }]);
    setTimeout(() => listener.stdin!.write('.'), 100);
    expect(JSON.parse((await ended(child)).stdout)).toEqual([{ returned: 'late' }]);
    for (const socket of waiting) socket.destroy();
    listener.stdin!.end();
    await once(listener, 'exit');
    rmSync(path(), { force: true });
  });
});
