import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
// Only this module of the package: its index costs 0.4 s and 50 MB at start (generated clients of every API group).
import { KubeConfig } from '@kubernetes/client-node/dist/config.js';
import { parse } from 'yaml';
import { isRecord } from './fields.ts';

const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

type User = ReturnType<KubeConfig['getUsers']>[number];

/**
 * Users with their `tokenFile`, which client-node leaves out (kubeadm's kube-proxy has nothing else). It is read again
 * every minute, and takes precedence over `token` (client-go: AuthInfo.TokenFile).
 */
function withTokenFiles(users: readonly User[], path: string): User[] {
  const config: unknown = parse(readFileSync(path, 'utf8'));
  const entries: readonly unknown[] = isRecord(config) && Array.isArray(config.users) ? config.users : [];
  const files = new Map<unknown, string>();
  for (const entry of entries) {
    const tokenFile = isRecord(entry) && isRecord(entry.user) ? entry.user.tokenFile : undefined;
    if (isRecord(entry) && typeof tokenFile === 'string' && tokenFile !== '') files.set(entry.name, tokenFile);
  }
  return users.map(user => {
    const file = files.get(user.name);
    if (file === undefined) return user;
    const { token: _, ...rest } = user;
    return { ...rest, authProvider: { name: 'tokenFile', config: { tokenFile: resolve(dirname(path), file) } } };
  });
}

/** The kubeconfig in a file, or without a path the service account of the pod we run in. Throws an Error that says which. */
export function loadKubeConfig(path?: string): KubeConfig {
  const config = new KubeConfig();
  if (path !== undefined && path !== '') {
    try {
      config.loadFromFile(path);
      config.users = withTokenFiles(config.users, path);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`kubeconfig ${path} cannot be read: ${reason}`, { cause });
    }
    return config;
  }
  if (process.env.KUBERNETES_SERVICE_HOST === undefined || !existsSync(SERVICE_ACCOUNT_TOKEN)) {
    throw new Error('no kubeconfig is given, and this is no pod with a service account');
  }
  config.loadFromCluster();
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
