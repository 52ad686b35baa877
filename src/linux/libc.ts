/** System calls that Node.js doesn't have, through koffi, which is loaded at the first call. The calls are of the thread that makes them. */

export interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array, length: number): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, length: number): number;
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  recv(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  close(fd: number): number;
  setns(fd: number, type: number): number;
  /** On a thread of libuv's pool; the bytes stay untouched until it is done. */
  sendAsync(fd: number, bytes: Uint8Array): Promise<void>;
  /** On a thread of libuv's pool; resolves to the number of bytes, or -1. */
  recvAsync(fd: number, bytes: Uint8Array): Promise<number>;
  /** Of the call before. */
  errno(): number;
}

let loaded: Promise<Libc> | undefined;

export function loadLibc(): Promise<Libc> {
  loaded ??= declare();
  return loaded;
}

async function declare(): Promise<Libc> {
  const { default: koffi } = await import('koffi');
  const libc = koffi.load('libc.so.6');
  const send = libc.func('long send(int fd, const void *bytes, size_t length, int flags)');
  const recv = libc.func('long recv(int fd, void *bytes, size_t length, int flags)');
  const calls = {
    socket: libc.func('int socket(int domain, int type, int protocol)'),
    bind: libc.func('int bind(int fd, const void *address, uint32_t length)'),
    setsockopt: libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
    send,
    recv,
    close: libc.func('int close(int fd)'),
    setns: libc.func('int setns(int fd, int type)'),
    sendAsync: async (fd: number, bytes: Uint8Array) => {
      await onPool<number>(done => send.async(fd, bytes, bytes.length, 0, done));
    },
    recvAsync: async (fd: number, bytes: Uint8Array) =>
      Number(await onPool<number>(done => recv.async(fd, bytes, bytes.length, 0, done))),
    errno: () => koffi.errno(),
  };
  return calls as unknown as Libc;
}

/** A call's result, as koffi gives it to a callback. */
function onPool<T>(call: (done: (error: Error | null, result: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => call((error, result) => (error === null ? resolve(result) : reject(error))));
}
