/** What a node and its cluster give the pod of deploy/kproxy-ts.yaml: hostPaths, the ConfigMap, the service account, /etc/hosts. */
import { cp, mkdir, mkdtemp, readdir, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { nodeEnv, runtimeDir } from '../../src/lab/daemons.ts';
import { nodeProgram } from '../../src/lab/install.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { apiAddress, clusterCIDR, clusterCIDR6 } from '../../src/lab/layout.ts';
import { launch, markedEnv } from '../../src/lab/process.ts';
import { configurationText } from '../unit/deploy/manifest.ts';

/** Where the gate of `startGate` is: the name that the certificate of test/fakes/tls has beside this host's own address. */
const GATE = { name: 'kubernetes', port: 6444 } as const;
const CA = fileURLToPath(new URL('../fakes/tls/ca.pem', import.meta.url));

/** The environment that stands in for the manifest's lines marked EDIT. */
export const gateEnv = { KUBERNETES_SERVICE_HOST: GATE.name, KUBERNETES_SERVICE_PORT: String(GATE.port) } as const;

/** The directory that holds it all, for container.sh. */
export function nodeFilesOf(lab: Lab, node: string): string {
  return join(lab.directory, `${node}.files`);
}

export type Variant = 'nft' | 'legacy';

export interface NodeFilesOptions {
  readonly variant: Variant;
  /** What the service account's token file holds. */
  readonly token: string;
}

/** Makes the directory of a node. */
export async function makeNodeFiles(lab: Lab, node: string, { variant, token }: NodeFilesOptions): Promise<void> {
  const directory = nodeFilesOf(lab, node);
  await mkdir(runtimeDir(lab.name, node), { recursive: true });
  await Promise.all(['config', 'secrets'].map(name => mkdir(join(directory, name), { recursive: true })));
  const { XTABLES_LOCKFILE: lockFile = '' } = nodeEnv(lab.name, node);
  await writeFile(lockFile, '', { flag: 'a' });
  await symlink(runtimeDir(lab.name, node), join(directory, 'run'));
  await symlink(lockFile, join(directory, 'xtables.lock'));
  await writeFile(join(directory, 'hosts'), `127.0.0.1 localhost\n${apiAddress} ${GATE.name}\n`);
  await writeConfiguration(lab, node, { variant });
  await writeToken(lab, node, token);
}

export interface ConfigurationFields {
  readonly variant: Variant;
  /** Of KubeProxyConfiguration. */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** Of NodeConfiguration. */
  readonly dns?: Readonly<Record<string, unknown>>;
}

/** The manifest's ConfigMap, with the lab's pods, a variant, and more fields. */
export async function writeConfiguration(
  lab: Lab,
  node: string,
  { variant, fields = {}, dns }: ConfigurationFields,
): Promise<void> {
  const [proxy, own] = [...parseAllDocuments(configurationText())].map(document => document.toJS() as object);
  const documents = [
    // The size of the connection table is the machine's own, and can't be set from a node's network namespace.
    { ...proxy, clusterCIDR: `${clusterCIDR},${clusterCIDR6}`, conntrack: { maxPerCore: 0 }, ...fields },
    { ...own, iptables: { variant }, ...(dns === undefined ? {} : { dns }) },
  ];
  const text = documents.map(document => JSON.stringify(document)).join('\n---\n');
  await writeVolume(join(nodeFilesOf(lab, node), 'config'), directory =>
    writeFile(join(directory, 'config.yaml'), text),
  );
}

/** The service account's volume with another token, as the kubelet rotates it. */
export async function writeToken(lab: Lab, node: string, token: string): Promise<void> {
  await writeVolume(join(nodeFilesOf(lab, node), 'secrets'), async directory => {
    await writeFile(join(directory, 'token'), token, { mode: 0o600 });
    await writeFile(join(directory, 'namespace'), 'kube-system');
    await cp(CA, join(directory, 'ca.crt'));
  });
}

/**
 * Fills a volume as the kubelet does (AtomicWriter): the files are in a directory of their own, `..data` leads to it, and one rename swaps
 * all of them.
 */
async function writeVolume(volume: string, fill: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(`${volume}/..`);
  await fill(directory);
  const data = join(volume, '..data');
  const before = await readlink(data).catch(() => undefined);
  await symlink(basename(directory), `${data}_tmp`);
  await rename(`${data}_tmp`, data);
  if (before !== undefined) {
    await rm(join(volume, before), { recursive: true });
    return;
  }
  for (const name of await readdir(directory)) await symlink(join('..data', name), join(volume, name));
}

/** Starts the gate in front of the lab's API server; returns the file that says which token it takes, and that of its refusals. */
export async function startGate(
  lab: Lab,
  token: string,
): Promise<{ readonly tokenFile: string; readonly logFile: string }> {
  const tokenFile = join(lab.directory, 'gate-token');
  const logFile = join(lab.directory, 'gate.log');
  await writeFile(tokenFile, token);
  const program = fileURLToPath(new URL('api-gate-main.ts', import.meta.url));
  const launched = await launch({
    netns: lab.netns('control'),
    command: [nodeProgram, program, apiAddress, String(GATE.port), lab.apiUrl, tokenFile],
    env: markedEnv(lab.name),
    logFile,
    announces: true,
  });
  if ((await launched.announcement) !== 'ready') throw new Error(`the gate ${await launched.ended}; see ${logFile}`);
  return { tokenFile, logFile };
}
