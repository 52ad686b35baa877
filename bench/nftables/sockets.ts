/** TCP sockets by the system calls themselves. Constants are of Linux on amd64 and arm64. */
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_LINGER = 13;

export type Sockets = Awaited<ReturnType<typeof loadSockets>>;

export async function loadSockets() {
  const { default: koffi } = await import('koffi');
  const c = koffi.load('libc.so.6');
  return {
    socket: c.func('int socket(int family, int type, int protocol)'),
    connect: c.func('int connect(int fd, const void *address, uint32_t length)'),
    setsockopt: c.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
    close: c.func('int close(int fd)'),
    bind: c.func('int bind(int fd, const void *address, uint32_t length)'),
    listen: c.func('int listen(int fd, int backlog)'),
    accept: c.func('int accept(int fd, void *address, void *length)'),
  };
}

/** struct sockaddr_in */
export function socketAddress(ip: string, port: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  for (const [i, part] of ip.split('.').entries()) bytes[4 + i] = Number(part);
  return bytes;
}

export function newSocket({ socket }: Sockets): number {
  return socket(AF_INET, SOCK_STREAM, 0);
}

/** Opens so many connections, each closed by a reset at once (no ports in TIME_WAIT); how many ms that took. */
export function connectTimes(sockets: Sockets, { ip, port }: { ip: string; port: number }, count: number): number {
  const address = socketAddress(ip, port);
  /** struct linger: on, 0 s */
  const linger = Buffer.from(Int32Array.of(1, 0).buffer);
  const startedAt = performance.now();
  for (let i = 0; i < count; i += 1) {
    const fd = newSocket(sockets);
    sockets.setsockopt(fd, SOL_SOCKET, SO_LINGER, linger, linger.length);
    if (sockets.connect(fd, address, address.length) !== 0) throw new Error(`no connection to ${ip}:${port}`);
    sockets.close(fd);
  }
  return performance.now() - startedAt;
}
