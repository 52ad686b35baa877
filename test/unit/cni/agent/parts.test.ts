import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DeferredQueue } from '../../../../src/cni/agent/deferred-queue.ts';
import { collectGarbage } from '../../../../src/cni/agent/gc.ts';
import { Localnet } from '../../../../src/cni/agent/localnet.ts';
import { AgentServer } from '../../../../src/cni/agent/server.ts';
import { Turns } from '../../../../src/cni/agent/turns.ts';
import { deferredFileName, deferredText } from '../../../../src/cni/deferred.ts';
import type { Attachment } from '../../../../src/cni/ipam/attachment.ts';
import type { AgentReply, AgentRequest, AttachmentId } from '../../../../src/cni/types.ts';

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };

function request(command: AgentRequest['command'], config: object = {}): AgentRequest {
  const common = { protocol: 1, containerID: 'c1', ifname: 'eth0', netns: '', args: {} } as const;
  return { ...common, command, config: { name: 'kp', ...config } };
}

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cni-agent-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('turns', () => {
  test('of one key come one after the other, also after one that failed; of others side by side', async () => {
    const turns = new Turns();
    const order: string[] = [];
    const gate = Promise.withResolvers<void>();
    const first = turns.run('a', async () => {
      await gate.promise;
      order.push('a1');
      throw new Error('first');
    });
    const second = turns.run('a', async () => order.push('a2'));
    await turns.run('b', async () => order.push('b'));
    expect([order, turns.has('a'), turns.has('b')]).toEqual([['b'], true, false]);
    gate.resolve();
    await expect(first).rejects.toThrow('first');
    await second;
    await turns.idle();
    expect([order, turns.size]).toEqual([['b', 'a1', 'a2'], 0]);
  });
});

describe('deferred DELs', () => {
  test('what is none and stays is said once, and keeps nothing else from being done', async () => {
    const name = deferredFileName({ ...id, containerID: 'c2' });
    mkdirSync(join(directory, name));
    put('garbage.json', '{');
    put(deferredFileName(id), deferredText(request('DEL')));
    const said: unknown[] = [];
    const log = { ...silent, error: (what: object) => said.push((what as { path: string }).path) };
    const all = new DeferredQueue({ directory, log, handle: async () => ({}) });
    await all.workOff();
    await all.workOff();
    expect(said.sort()).toEqual([join(directory, name), join(directory, 'garbage.json')].sort());
    expect(readdirSync(directory).sort()).toEqual([name, 'garbage.json'].sort());
  });

  const id: AttachmentId = { network: 'kp', containerID: 'c1', ifname: 'eth0' };
  const put = (name: string, text: string) => writeFileSync(join(directory, name), text);
  const queue = (answer: AgentReply, seen: AgentRequest[] = []) =>
    new DeferredQueue({
      directory,
      log: silent,
      handle: async asked => {
        seen.push(asked);
        return answer;
      },
    });

  test('are done and gone; one that fails waits for the next time', async () => {
    const name = deferredFileName(id);
    put(name, deferredText(request('DEL')));
    await queue({ error: { code: 103, msg: 'no' } }).workOff();
    expect(readdirSync(directory)).toEqual([name]);
    const seen: AgentRequest[] = [];
    await queue({}, seen).workOff(request('ADD'));
    expect(seen).toEqual([request('DEL')]);
    expect(readdirSync(directory)).toEqual([]);
  });

  test('that are damaged go; files that are being written stay; no directory is no error', async () => {
    put(deferredFileName(id), '{');
    put('x.tmp', '{');
    await queue({}).workOff();
    expect(readdirSync(directory)).toEqual(['x.tmp']);
    rmSync(directory, { recursive: true });
    await queue({}).workOff();
    mkdirSync(directory);
  });
});

describe('GC', () => {
  const attachment = (containerID: string, ifname = 'eth0') =>
    ({ id: { network: 'kp', containerID, ifname } }) as unknown as Attachment;

  test('G05: does what it can, and lists what it could not', async () => {
    const gone: string[] = [];
    const remove = async ({ containerID }: AttachmentId) => {
      if (containerID === 'bad') throw new Error('stuck');
      gone.push(containerID);
    };
    const candidates = ['bad', 'a', 'b'].map(name => attachment(name)).concat(attachment('kept', 'eth0:chained'));
    const valid = { 'cni.dev/valid-attachments': [{ containerID: 'kept', ifname: 'eth0' }] };
    const collecting = collectGarbage(request('GC', valid), { candidates, remove });
    await expect(collecting).rejects.toMatchObject({ code: 103, details: 'kp/bad/eth0: stuck' });
    expect(gone).toEqual(['a', 'b']);
  });

  test('G02, G03: no list, or one that can not be read, removes nothing', async () => {
    const remove = async () => expect.unreachable();
    for (const list of [undefined, {}, [7], [{ containerID: 'a' }]]) {
      const asked = request('GC', { 'cni.dev/valid-attachments': list });
      await expect(collectGarbage(asked, { candidates: [attachment('a')], remove })).rejects.toMatchObject({ code: 7 });
    }
  });
});

describe('route_localnet', () => {
  test('P09: is on while a bridge needs it, and as before then; what somebody else switched on stays', () => {
    const values = new Map([
      ['ipv4/conf/cni0/route_localnet', '0'],
      ['ipv4/conf/theirs/route_localnet', '1'],
    ]);
    let needed = new Set(['cni0', 'theirs']);
    const write = (name: string, value: string) => void values.set(name, value);
    const localnet = new Localnet({ needed: () => needed, log: silent, read: name => values.get(name) ?? '', write });
    localnet.follow();
    expect([...values.values()]).toEqual(['1', '1']);
    needed = new Set();
    localnet.follow();
    expect([...values.values()]).toEqual(['0', '1']);
  });
});

describe('the socket', () => {
  const path = () => join(directory, 'cni.sock');
  const ask = (text: string) =>
    new Promise<string>((resolve, reject) => {
      let answer = '';
      const socket = connect(path(), () => socket.write(text));
      socket.on('data', chunk => {
        answer += String(chunk);
      });
      socket.on('end', () => {
        socket.destroy();
        resolve(answer);
      });
      socket.on('error', reject);
    });

  test('Z06: answers lines; what is no request, or of another protocol, is said to be so', async () => {
    const server = new AgentServer({
      path: path(),
      log: silent,
      handle: async ({ command }) => ({ warnings: [command] }),
    });
    await server.listen();
    expect(await ask(`${JSON.stringify(request('STATUS'))}\n`)).toBe('{"protocol":1,"warnings":["STATUS"]}\n');
    for (const text of ['{', '[]', JSON.stringify({ ...request('ADD'), protocol: 2 }), '{"protocol":1}'])
      expect(JSON.parse(await ask(`${text}\n`))).toMatchObject({ protocol: 1, error: { code: 11 } });
    await server.close();
  });

  test('a socket that somebody removed, or replaced, is there again; who was connected is answered', async () => {
    const gate = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const handle = async ({ command }: AgentRequest): Promise<AgentReply> => {
      begun.resolve();
      if (command === 'CHECK') await gate.promise;
      return { warnings: [command] };
    };
    const said: string[] = [];
    const server = new AgentServer({
      path: path(),
      log: {
        ...silent,
        warn: (_: object, text?: string) => {
          said.push(text ?? '');
        },
      },
      handle,
    });
    await server.listen();
    await server.repair();
    expect(said).toEqual([]);
    const asking = ask(`${JSON.stringify(request('CHECK'))}\n`);
    await begun.promise;
    for (const damage of [
      () => rmSync(path()),
      () => {
        rmSync(path());
        writeFileSync(path(), '');
      },
      () => rmSync(dirname(path()), { recursive: true }),
    ]) {
      damage();
      await server.repair();
      expect(await ask(`${JSON.stringify(request('STATUS'))}\n`)).toContain('STATUS');
    }
    expect(said).toHaveLength(3);
    gate.resolve();
    expect(await asking).toContain('CHECK');
    await server.close();
    await server.repair();
    expect(existsSync(path())).toBe(false);
  });

  test('an ADD whose plugin is gone is undone', async () => {
    const seen: string[] = [];
    const working = Promise.withResolvers<void>();
    const undone = Promise.withResolvers<void>();
    const handle = async ({ command }: AgentRequest, signal: AbortSignal): Promise<AgentReply> => {
      seen.push(command);
      if (command === 'DEL') undone.resolve();
      if (command !== 'ADD') return {};
      working.resolve();
      await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()));
      return { result: {} };
    };
    const server = new AgentServer({ path: path(), log: silent, handle });
    await server.listen();
    const socket = connect(path(), () => socket.write(`${JSON.stringify(request('ADD'))}\n`));
    await working.promise;
    socket.destroy();
    await undone.promise;
    await server.close();
    expect(seen).toEqual(['ADD', 'DEL']);
  });

  test('closing answers what was asked before', async () => {
    const begun = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const handle = async (): Promise<AgentReply> => {
      begun.resolve();
      await gate.promise;
      return {};
    };
    const server = new AgentServer({ path: path(), log: silent, handle });
    await server.listen();
    const asking = ask(`${JSON.stringify(request('STATUS'))}\n`);
    await begun.promise;
    const closing = server.close();
    gate.resolve();
    expect(await asking).toBe('{"protocol":1}\n');
    await closing;
  });
});
