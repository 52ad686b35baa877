import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { HttpListener, ListenError, type ListenOptions } from '../../../src/http/listen.ts';
import { serveRoutes, TEXT } from '../../../src/http/routes.ts';

const open: (HttpListener | Server)[] = [];

afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

async function occupy(port = 0): Promise<{ port: number; server: Server }> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve));
  open.push(server);
  return { port: (server.address() as AddressInfo).port, server };
}

async function release(server: Server): Promise<void> {
  await new Promise(resolve => server.close(resolve));
}

/** A sleep that ends when the test says so. */
function manualSleep() {
  const wakes: (() => void)[] = [];
  const delays: number[] = [];
  const arrivals: (() => void)[] = [];
  const sleep = (ms: number, signal: AbortSignal) => {
    delays.push(ms);
    arrivals.shift()?.();
    return new Promise<void>((resolve, reject) => {
      wakes.push(resolve);
      signal.addEventListener('abort', () => reject(new Error('aborted')));
    });
  };
  /** Ends the sleep and waits until the next one begins. */
  const nextRound = async () => {
    const asleep = new Promise<void>(resolve => arrivals.push(resolve));
    wakes.shift()?.();
    await asleep;
  };
  return { sleep, delays, nextRound, wake: () => wakes.shift()?.() };
}

async function start(options: Partial<ListenOptions> = {}) {
  const lines: string[] = [];
  const note = (_fields: object, message: string) => {
    lines.push(message.replace(/:\d+/, ':PORT'));
    listens?.();
  };
  let listens: (() => void) | undefined;
  const nextLine = () => new Promise<void>(resolve => (listens = resolve));
  const listener = await HttpListener.start({
    name: 'health',
    address: '127.0.0.1',
    port: 0,
    handler: serveRoutes({ '/a': () => ({ status: 200, contentType: TEXT, body: 'hello' }) }),
    isFailureFatal: false,
    log: { info: note, warn: note },
    ...options,
  });
  open.push(listener);
  return { listener, lines, nextLine, url: `http://127.0.0.1:${listener.port}` };
}

describe('HttpListener', () => {
  test('listens, and its port is free after close', async () => {
    const { listener, lines } = await start();
    const { port = 0 } = listener;
    expect(port).toBeGreaterThan(0);
    expect(lines).toEqual(['health server on 127.0.0.1:PORT listens']);
    await listener.close();
    expect(listener.port).toBeUndefined();
    expect((await occupy(port)).port).toBe(port);
  });

  test('tries a taken address every 5 s, saying so once, until it is free', async () => {
    const { port, server } = await occupy();
    const { sleep, delays, nextRound, wake } = manualSleep();
    const { listener, lines, nextLine } = await start({ port, sleep });
    expect(listener.port).toBeUndefined();
    await nextRound();
    await nextRound();
    expect(lines).toEqual(['health server on 127.0.0.1:PORT: the address is in use; trying again every 5 s']);
    expect(delays).toEqual([5000, 5000, 5000]);
    await release(server);
    const line = nextLine();
    wake();
    await line;
    expect(listener.port).toBe(port);
    expect(lines).toHaveLength(2);
    expect(lines[1]).toBe('health server on 127.0.0.1:PORT listens');
  });

  test('with bindAddressHardFail a taken address is an error', async () => {
    const { port } = await occupy();
    const failure = start({ port, isFailureFatal: true });
    await expect(failure).rejects.toThrow(ListenError);
    await expect(failure).rejects.toMatchObject({
      code: 'EADDRINUSE',
      message: `health server on 127.0.0.1:${port}: the address is in use`,
    });
  });

  test('an address of another host is named so', async () => {
    await expect(start({ address: '192.0.2.1', isFailureFatal: true })).rejects.toThrow(
      'health server on 192.0.2.1:0: the address is not one of this host',
    );
  });

  test('closing ends the retries at once', async () => {
    const { port, server } = await occupy();
    const { listener } = await start({ port });
    await listener.close();
    await listener.close();
    await release(server);
    expect(listener.port).toBeUndefined();
  });

  test('close lets a request that is being answered finish', async () => {
    let answer = (): void => undefined;
    const started = new Promise<void>(resolveStarted => {
      const handler = serveRoutes({
        '/slow': async () => {
          resolveStarted();
          await new Promise<void>(resolve => (answer = resolve));
          return { status: 200, contentType: TEXT, body: 'done' };
        },
      });
      void start({ handler }).then(({ url, listener }) => {
        response = fetch(`${url}/slow`).then(reply => reply.text());
        running = listener;
      });
    });
    let response: Promise<string> | undefined;
    let running: HttpListener | undefined;
    await started;
    const closed = running?.close();
    answer();
    expect(await response).toBe('done');
    await closed;
  });

  test('close does not wait for a client that sends nothing', async () => {
    const { listener } = await start();
    const socket = connect(listener.port ?? 0, '127.0.0.1');
    await new Promise(resolve => socket.once('connect', resolve));
    const ended = new Promise(resolve => socket.once('close', resolve));
    socket.on('error', () => socket.destroy());
    await listener.close();
    await ended;
  });
});

describe('serveRoutes', () => {
  test('serves a path with its type, with or without a query', async () => {
    const { url } = await start();
    const response = await fetch(`${url}/a?b=c`);
    expect([response.status, response.headers.get('content-type'), await response.text()]).toEqual([
      200,
      TEXT,
      'hello',
    ]);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
  });

  test('HEAD has the headers and no body', async () => {
    const { url } = await start();
    const response = await fetch(`${url}/a`, { method: 'HEAD' });
    expect([response.headers.get('content-length'), await response.text()]).toEqual(['5', '']);
  });

  test.each([
    ['/', 'GET', 404],
    ['/a/', 'GET', 404],
    ['/constructor', 'GET', 404],
    ['/a', 'POST', 405],
  ])('%s %s is %i', async (path, method, status) => {
    const { url } = await start();
    expect((await fetch(url + path, { method })).status).toBe(status);
  });

  test('a route that throws answers 500 and the server goes on', async () => {
    const broken = () => {
      throw new Error('broken');
    };
    const { url } = await start({ handler: serveRoutes({ '/b': broken }) });
    const response = await fetch(`${url}/b`);
    expect([response.status, await response.text()]).toEqual([500, 'broken\n']);
    expect((await fetch(`${url}/other`)).status).toBe(404);
  });
});
