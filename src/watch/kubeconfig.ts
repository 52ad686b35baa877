import { existsSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { dirname, resolve } from 'node:path';
// Only this module of the package: its index costs 0.4 s and 50 MB at start (generated clients of every API group).
import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import { parse } from 'yaml';
import { isRecord } from './fields.ts';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Where a program finds what its pod was given. */
export interface Place {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Stands before absolute paths; '' but for tests. */
  readonly root: string;
}

export type KubeUser = ReturnType<KubeConfig['getUsers']>[number] & {
  /** Headers that client-node doesn't send: it knows only the user's name (`as`). */
  readonly impersonation?: Readonly<Record<string, string | string[]>>;
};

/** An exec plugin may ask a cloud; one that hangs is ended, or every attempt would leave one behind. */
const PLUGIN_SECONDS = 60;

type Fields = Readonly<Record<string, unknown>>;

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter(item => typeof item === 'string') : [];
}

/** https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation */
function impersonationOf(user: Fields): Pick<KubeUser, 'impersonation'> {
  const groups = texts(user['as-groups']);
  const uid = user['as-uid'];
  const extra = isRecord(user['as-user-extra']) ? user['as-user-extra'] : {};
  const headers: Record<string, string | string[]> = {};
  if (groups.length > 0) headers['Impersonate-Group'] = groups;
  if (typeof uid === 'string' && uid !== '') headers['Impersonate-Uid'] = uid;
  for (const [key, values] of Object.entries(extra)) {
    headers[`Impersonate-Extra-${encodeURIComponent(key)}`] = texts(values);
  }
  return Object.keys(headers).length === 0 ? {} : { impersonation: headers };
}

/**
 * The exec plugin as client-go calls it: a command with a slash is relative to the kubeconfig, and the plugin is told which
 * version of the protocol is spoken (some refuse to work without).
 */
function execOf(user: Fields, directory: string): { exec?: object } {
  const { exec } = user;
  if (!isRecord(exec) || typeof exec.command !== 'string') return {};
  const kind = { kind: 'ExecCredential', apiVersion: exec.apiVersion, spec: { interactive: false } };
  const command = exec.command.includes('/') ? resolve(directory, exec.command) : exec.command;
  const env = [
    ...(Array.isArray(exec.env) ? exec.env : []),
    { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(kind) },
  ];
  const args = [String(PLUGIN_SECONDS), command, ...texts(exec.args)];
  return { exec: { ...exec, command: 'timeout', args, env } };
}

/**
 * The users with what client-node leaves out. A `tokenFile` (kubeadm's kube-proxy has nothing else) is read again every
 * minute, and takes precedence over `token` (client-go: AuthInfo.TokenFile).
 */
function completeUsers(users: readonly KubeUser[], path: string): KubeUser[] {
  const config: unknown = parse(readFileSync(path, 'utf8'));
  const entries: readonly unknown[] = isRecord(config) && Array.isArray(config.users) ? config.users : [];
  const raw = new Map<unknown, Fields>();
  for (const entry of entries) if (isRecord(entry) && isRecord(entry.user)) raw.set(entry.name, entry.user);
  const directory = dirname(path);
  return users.map(user => {
    const own = raw.get(user.name) ?? {};
    const { tokenFile } = own;
    const completed = { ...user, ...impersonationOf(own), ...execOf(own, directory) };
    if (typeof tokenFile !== 'string' || tokenFile === '') return completed;
    const { token: _, ...rest } = completed;
    return { ...rest, authProvider: { name: 'tokenFile', config: { tokenFile: resolve(directory, tokenFile) } } };
  });
}

/** The service account of the pod we run in. Its token and CA are files that the kubelet replaces; both are read again. */
function inCluster({ env, root }: Place): KubeConfig {
  const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '443' } = env;
  const tokenFile = `${root}${SERVICE_ACCOUNT}/token`;
  if (host === '' || !existsSync(tokenFile)) {
    throw new Error('no kubeconfig is given, and this is no pod with a service account');
  }
  const config = new KubeConfig();
  const server = `https://${isIPv6(host) ? `[${host}]` : host}:${port}`;
  const cluster = { name: 'in-cluster', server, caFile: `${root}${SERVICE_ACCOUNT}/ca.crt`, skipTLSVerify: false };
  config.loadFromClusterAndUser(cluster, {
    name: 'service-account',
    authProvider: { name: 'tokenFile', config: { tokenFile } },
  });
  return config;
}

/** The kubeconfig in a file, or without a path the service account of the pod we run in. Throws an Error that says which. */
export function loadKubeConfig(path?: string, place: Place = { env: process.env, root: '' }): KubeConfig {
  if (path === undefined || path === '') return inCluster(place);
  const config = new KubeConfig();
  try {
    config.loadFromFile(path);
    config.users = completeUsers(config.users, path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`kubeconfig ${path} cannot be read: ${reason}`, { cause });
  }
  return config;
}

/** A kubeconfig for a server that asks for no credentials. */
export function anonymousKubeConfig(server: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromClusterAndUser({ name: 'server', server, skipTLSVerify: false }, { name: 'anonymous' });
  return config;
}

/**
 * The config with exactly one cluster and user. client-node sends no CA without a user, and refuses http: servers unless
 * skipTLSVerify is set, which means nothing there.
 */
export function currentConfig(config: KubeConfig, server: string | undefined): KubeConfig {
  const cluster = config.getCurrentCluster();
  const url = server ?? cluster?.server;
  if (url === undefined || !URL.canParse(url)) throw new Error(`the kubeconfig's current context names no server URL`);
  const isPlain = new URL(url).protocol === 'http:';
  const skipTLSVerify = isPlain || cluster?.skipTLSVerify === true;
  const current = new KubeConfig();
  const user = config.getCurrentUser() ?? { name: 'anonymous' };
  current.loadFromClusterAndUser({ ...cluster, name: cluster?.name ?? 'server', server: url, skipTLSVerify }, user);
  return current;
}
