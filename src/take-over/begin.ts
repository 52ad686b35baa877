/** What `run --take-over` does before anything else: nothing is changed on the node yet. */
import { readFile, writeFile } from 'node:fs/promises';
import { configurationOf } from '../config/configuration.ts';
import type { LoadedConfiguration } from '../config/load.ts';
import type { ProxyMode } from '../config/proxy-modes.ts';
import { prepareRuntimeDir } from '../lifecycle/runtime-dir.ts';
import { loadModes } from '../modes.ts';
import { findKubeProxy } from './kube-proxy-process.ts';

/** kube-proxy still lives: two programs would write the same rules. */
export class TakeOverError extends Error {
  override readonly name = 'TakeOverError';

  constructor(signs: readonly string[]) {
    super(
      `kube-proxy runs on this node, so nothing is taken over: ${signs.join('; ')}. Stop it first; its rules stay in force`,
    );
  }
}

/** What there is to say of a take-over at the start. */
export interface TakeOverNotes {
  readonly what: string;
  /** What the operator should do something about. */
  readonly warning?: string;
}

export interface TakeOver extends TakeOverNotes {
  /** A configuration with kube-proxy's meaning of what it leaves open. */
  readonly keepMeaning: (loaded: LoadedConfiguration) => LoadedConfiguration;
}

export interface BeginOptions {
  readonly loaded: LoadedConfiguration;
  readonly runtimeDir: string;
  /** What shows that a kube-proxy lives here; these are for tests. */
  readonly findAlive?: typeof findKubeProxy;
  /** The mode that kube-proxy left rules of. */
  readonly findLayout?: () => Promise<ProxyMode | undefined>;
}

/** Finds out what there is to take over. @throws TakeOverError, RuntimeDirError */
export async function beginTakeOver({
  loaded,
  runtimeDir,
  findAlive = findKubeProxy,
  findLayout = layoutHere,
}: BeginOptions): Promise<TakeOver> {
  const signs = await findAlive({ addresses: loaded.configuration });
  if (signs.length > 0) throw new TakeOverError(signs);
  const { takenOver } = await prepareRuntimeDir(runtimeDir);
  const layout = await findLayout();
  if (layout !== undefined) await writeFile(takenOver, `${layout}\n`, { mode: 0o600 });
  const known = layout ?? (await layoutBefore(takenOver));
  const keepMeaning = (next: LoadedConfiguration) => (known === undefined ? next : withMeaning(next, known));
  const what =
    layout === undefined
      ? 'nothing of kube-proxy is here to be taken over'
      : `kube-proxy left rules of its ${layout} mode: taking over`;
  return {
    keepMeaning,
    what,
    ...(known !== undefined && isOtherMeaning(loaded, known) && { warning: meaningNote(known) }),
  };
}

/** kube-proxy removes the rules of one mode when it starts in another, so there is one but for accidents. */
async function layoutHere(): Promise<ProxyMode | undefined> {
  for (const { name, kubeProxy } of await loadModes()) if ((await kubeProxy.find()).length > 0) return name;
  return undefined;
}

/** An earlier start of this boot has taken over: rules and this file go at the same time. */
async function layoutBefore(path: string): Promise<ProxyMode | undefined> {
  const text = (await readFile(path, 'utf8').catch(() => '')).trim();
  return text === 'iptables' || text === 'nftables' ? text : undefined;
}

/** The list is empty, and in our mode that means something else. */
function isOtherMeaning({ fields, configuration }: LoadedConfiguration, layout: ProxyMode): boolean {
  const isLeftOpen = fields.kubeProxy.nodePortAddresses.length === 0;
  return isLeftOpen && (configuration.nodePortAddresses === 'primary') !== (layout === 'nftables');
}

/** What an empty list means in kube-proxy's modes. */
const EMPTY_LIST = { iptables: ['0.0.0.0/0', '::/0'], nftables: ['primary'] } as const;

function meaningNote(layout: ProxyMode): string {
  const value = JSON.stringify(EMPTY_LIST[layout]);
  return `nodePortAddresses is empty, which in kube-proxy's ${layout} mode means ${value}: kept until the next boot, so write it into the configuration`;
}

function withMeaning(loaded: LoadedConfiguration, layout: ProxyMode): LoadedConfiguration {
  if (!isOtherMeaning(loaded, layout)) return loaded;
  const { kubeProxy, node } = loaded.fields;
  const fields = { kubeProxy: { ...kubeProxy, nodePortAddresses: [...EMPTY_LIST[layout]] }, node };
  const { apiServer } = loaded.configuration;
  return {
    ...loaded,
    fields,
    configuration: { ...configurationOf(fields), ...(apiServer === undefined ? {} : { apiServer }) },
  };
}
