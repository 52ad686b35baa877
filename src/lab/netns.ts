/**
 * Named network namespaces and the links between them. Nothing here touches the namespace that we run in: links are made inside a
 * namespace (`ip -n`), with their other end put straight into another one.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ExecError, run } from '../linux/exec.ts';

const mountPoint = '/run/netns';

/** One end of a veth pair: the namespace, the name of the interface there, and its addresses with prefix lengths. */
export interface LinkEnd {
  readonly netns: string;
  readonly name: string;
  readonly addresses?: readonly string[];
}

/** Makes the namespaces, with loopback up. @throws {ExecError} when one exists already. */
export async function createNamespaces(names: readonly string[]): Promise<void> {
  await run('ip', ['-batch', '-'], { input: names.map(name => `netns add ${name}\n`).join('') });
  await Promise.all(names.map(name => configureLinks(name, ['link set lo up'])));
}

/** What programs that are run in the namespace by its name see as /etc/resolv.conf; goes with it (ip-netns(8)). */
export async function setResolvConf(netns: string, text: string): Promise<void> {
  await mkdir(ownFiles(netns), { recursive: true });
  await writeFile(join(ownFiles(netns), 'resolv.conf'), text);
}

const ownFilesOfAll = '/etc/netns';

function ownFiles(netns: string): string {
  return join(ownFilesOfAll, netns);
}

/** With the last of them their directory goes too, which no machine has by itself. */
async function removeOwnFiles(names: readonly string[]): Promise<void> {
  const own = names.map(ownFiles).filter(path => existsSync(path));
  if (own.length === 0) return;
  await Promise.all(own.map(path => rm(path, { recursive: true, force: true })));
  if ((await readdir(ownFilesOfAll)).length === 0) await rmdir(ownFilesOfAll);
}

/** Removes the names of the namespaces; the kernel ends a namespace with its last process. Those that don't exist are fine. */
export async function deleteNamespaces(names: readonly string[]): Promise<void> {
  await removeOwnFiles(names);
  const existing = new Set(await listNamespaces());
  const lines = names.filter(name => existing.has(name)).map(name => `netns del ${name}\n`);
  if (lines.length === 0) return;
  try {
    await run('ip', ['-force', '-batch', '-'], { input: lines.join('') });
  } catch (error) {
    const left = new Set(await listNamespaces());
    if (names.some(name => left.has(name))) throw error;
  }
}

/** The named namespaces whose names start with `prefix`, sorted. */
export async function listNamespaces(prefix = ''): Promise<string[]> {
  if (!existsSync(mountPoint)) return [];
  return (await readdir(mountPoint)).filter(name => name.startsWith(prefix)).sort();
}

/**
 * Runs `ip` lines (without the leading `ip`) inside a namespace, in one process; the first failing line ends it.
 * @throws {ExecError} with what `ip` said about the line
 */
export async function configureLinks(netns: string, lines: readonly string[]): Promise<void> {
  await run('ip', ['-n', netns, '-batch', '-'], { input: lines.map(line => `${line}\n`).join('') });
}

/** Joins two namespaces with a veth pair, both ends up, with their addresses. */
export async function connectNamespaces(one: LinkEnd, other: LinkEnd): Promise<void> {
  await configureLinks(one.netns, [
    `link add ${one.name} type veth peer name ${other.name} netns ${other.netns}`,
    ...bringUp(one),
  ]);
  await configureLinks(other.netns, bringUp(other));
}

function bringUp(end: LinkEnd): string[] {
  // nodad: an IPv6 address is usable at once; nobody else can have it in here.
  const add = (address: string) => `addr add ${address} dev ${end.name}${address.includes(':') ? ' nodad' : ''}`;
  return [...(end.addresses ?? []).map(add), `link set ${end.name} up`];
}

/** Sets kernel parameters inside a namespace; those that this kernel doesn't have (no br_netfilter, no IPv6) are left out. */
export async function setSysctls(netns: string, values: Readonly<Record<string, string | number>>): Promise<void> {
  const settings = Object.entries(values).map(([key, value]) => `${key}=${value}`);
  await run('sysctl', ['-q', '-e', '-w', ...settings], { netns });
}

/** What stops this process from making network namespaces; '' when it can. */
export async function obstacle(): Promise<string> {
  if (process.getuid?.() !== 0) return 'needs root, to make network namespaces';
  try {
    await run('ip', ['-V']);
    await run('unshare', ['--net', 'true']);
    return '';
  } catch (error) {
    if (error instanceof ExecError) return `can't make network namespaces: ${error.message}`;
    throw error;
  }
}

/**
 * The first `ip netns add` of a machine mounts /run/netns onto itself and leaves that behind. Called before it, this leaves a note when the
 * mount will be ours to undo.
 */
export async function noteMount(noteFile: string): Promise<void> {
  if (!(await isMounted())) await writeFile(noteFile, '');
}

/** Undoes that mount when the note says that it's ours and nobody has a namespace there any more. */
export async function releaseMount(noteFile: string): Promise<void> {
  if (!existsSync(noteFile)) return;
  if ((await listNamespaces()).length > 0) return;
  if (await isMounted()) await run('umount', [mountPoint]);
  if (existsSync(mountPoint)) await rmdir(mountPoint);
  await rm(noteFile, { force: true });
}

async function isMounted(): Promise<boolean> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  return mounts.split('\n').some(line => line.split(' ')[4] === mountPoint);
}

/** Whether namespaces of this kernel have IPv6: not without the module, nor booted with ipv6.disable=1. */
export function kernelHasIPv6(): boolean {
  return existsSync('/proc/sys/net/ipv6/conf/all/forwarding');
}
