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
    sendAsync: (fd: number, bytes: Uint8Array) =>
      new Promise<void>((resolve, reject) => {
        send.async(fd, bytes, bytes.length, 0, (error: unknown) => (error == null ? resolve() : reject(error)));
      }),
    recvAsync: (fd: number, bytes: Uint8Array) =>
      new Promise<number>((resolve, reject) => {
        recv.async(fd, bytes, bytes.length, 0, (error: unknown, length: number) =>
          error == null ? resolve(Number(length)) : reject(error),
        );
      }),
    errno: () => koffi.errno(),
  };
  return calls as unknown as Libc;
}
