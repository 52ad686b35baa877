import { readFile } from 'node:fs/promises';
import { type Configuration, type ConfigurationFields, configurationOf } from './configuration.ts';
import type { Mapping } from './document-check.ts';
import { type Document, readDocuments } from './documents.ts';
import { KUBE_PROXY, NODE } from './effective.ts';
import { ConfigurationError } from './error.ts';
import { checkKubeProxyDocument, kubeProxyWarnings } from './kube-proxy-document.ts';
import { checkNodeDocument, nodeWarnings } from './node-document.ts';

/** A configuration, and a line for each thing in the file that has no effect. */
export interface LoadedConfiguration {
  readonly configuration: Configuration;
  /** What the configuration was made of, for a diff and for showing it. */
  readonly fields: ConfigurationFields;
  readonly warnings: readonly string[];
}

/** A file to follow, and how it is read: flags of the command line may have a say in it. */
export interface ConfigurationFile {
  readonly path: string;
  readonly parse: (text: string, source: string) => LoadedConfiguration;
}

/**
 * Reads `--config FILE`: a KubeProxyConfiguration as kube-proxy takes it, and maybe a NodeConfiguration of our own.
 * @throws ConfigurationError when the file can't be read, isn't YAML, or has wrong values (all of them are named).
 */
export async function loadConfiguration(path: string): Promise<LoadedConfiguration> {
  return parseConfiguration(await readConfigurationText(path), path);
}

/** What holds without a file. */
export function defaultConfiguration(): LoadedConfiguration {
  return parseConfiguration(JSON.stringify(KUBE_PROXY), 'the defaults');
}

/**
 * The text of a configuration file.
 * @throws ConfigurationError that says why it can't be read; its cause is the system's error.
 */
export async function readConfigurationText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const reason = { ENOENT: 'no such file', EACCES: 'permission denied', EISDIR: 'is a directory' }[code];
    const message = `cannot be read: ${reason ?? String(error)}`;
    throw new ConfigurationError(path, [{ path: '', message }], { cause: error });
  }
}

/**
 * The configuration that a text holds; `source` is its file's name, for messages.
 * @throws ConfigurationError naming every wrong value.
 */
export function parseConfiguration(text: string, source: string): LoadedConfiguration {
  const documents = readDocuments(text, source);
  const kubeProxy = onlyOne(documents, KUBE_PROXY, source);
  const node = onlyOne(documents, NODE, source);
  const stranger = documents.find(document => document !== kubeProxy && document !== node);
  if (stranger !== undefined) throw strangerError(stranger, source);
  if (kubeProxy === undefined && node === undefined) {
    throw new ConfigurationError(source, [{ path: '', message: `holds no ${KUBE_PROXY.kind}` }]);
  }
  return checkDocuments({ kubeProxy: kubeProxy?.fields ?? {}, node: node?.fields ?? {} }, source);
}

function checkDocuments(documents: { kubeProxy: Mapping; node: Mapping }, source: string): LoadedConfiguration {
  const kubeProxy = checkKubeProxyDocument(documents.kubeProxy);
  const node = checkNodeDocument(documents.node);
  if ('problems' in kubeProxy || 'problems' in node) {
    const problems = [kubeProxy, node].flatMap(checked => ('problems' in checked ? checked.problems : []));
    throw new ConfigurationError(source, problems);
  }
  const fields = { kubeProxy: kubeProxy.fields, node: node.fields };
  const warnings = [...kubeProxyWarnings(documents.kubeProxy, kubeProxy.fields), ...nodeWarnings(documents.node)];
  return { configuration: configurationOf(fields), fields, warnings };
}

function isOfKind({ fields }: Document, { apiVersion, kind }: typeof KUBE_PROXY | typeof NODE): boolean {
  return fields.apiVersion === apiVersion && fields.kind === kind;
}

function onlyOne(documents: readonly Document[], wanted: typeof KUBE_PROXY | typeof NODE, source: string) {
  const [first, second] = documents.filter(document => isOfKind(document, wanted));
  if (second === undefined) return first;
  const message = `is a second ${wanted.kind}; one is allowed`;
  throw new ConfigurationError(source, [{ path: `document ${second.position}`, message }]);
}

function strangerError({ position, fields }: Document, source: string): ConfigurationError {
  const found = [fields.apiVersion, fields.kind].map(text => (text === undefined ? '(none)' : String(text)));
  const known = [KUBE_PROXY, NODE].map(({ apiVersion, kind }) => `${apiVersion} ${kind}`).join(' or ');
  const message = `must be ${known}, is ${found.join(' ')}`;
  return new ConfigurationError(source, [{ path: `document ${position}`, message }]);
}
