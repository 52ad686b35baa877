import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { type Configuration, type ConfigurationFields, configurationOf } from './configuration.ts';
import { dnsWarnings } from './dns-warnings.ts';
import type { Mapping } from './document-check.ts';
import { type Document, readDocuments } from './documents.ts';
import { KUBE_PROXY, NODE } from './effective.ts';
import { ConfigurationError, type ConfigurationProblem } from './error.ts';
import { flagProblems, flagWarnings, ignoredFlags, withFlags } from './flag-values.ts';
import { flagOfPath, type GivenFlags } from './flags.ts';
import { checkKubeProxyDocument, kubeProxyWarnings } from './kube-proxy-document.ts';
import { checkNodeDocument, nodeWarnings } from './node-document.ts';

/** The source of what flags say, for messages. */
const COMMAND_LINE = 'command line';

const MIB = 2 ** 20;
/** A ConfigMap holds at most 1 MiB. */
const LARGEST_BYTES = 8 * MIB;

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
export async function loadConfiguration(path: string, flags: GivenFlags = {}): Promise<LoadedConfiguration> {
  return parseConfiguration(await readConfigurationText(path), path, flags);
}

/** What holds without a file: the defaults, and what flags say. @throws ConfigurationError naming every wrong flag */
export function defaultConfiguration(flags: GivenFlags = {}): LoadedConfiguration {
  const problems = flagProblems(flags);
  const documents = { kubeProxy: withFlags({}, flags), node: {} };
  const loaded = checkDocuments(documents, { source: COMMAND_LINE, nameOf: flagOfPath, problems });
  return withServer({ ...loaded, warnings: [...flagWarnings(flags), ...loaded.warnings] }, flags);
}

/**
 * The text of a configuration file.
 * @throws ConfigurationError that says why it can't be read; its cause is the system's error.
 */
export async function readConfigurationText(path: string): Promise<string> {
  return readText(path, () => readFile(path, 'utf8'));
}

/**
 * The same of a file that is followed. Only a regular file can be: to open a pipe waits for its writer, for ever if none comes, and
 * then the daemon would neither follow the file nor end.
 * @throws ConfigurationError
 */
export async function readFollowedText(path: string): Promise<string> {
  return readText(path, async () => {
    // Without O_NONBLOCK the opening would wait already.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = await file.stat();
    if (!stats.isFile() && !stats.isDirectory()) throw unreadable(path, 'cannot be read: is not a regular file');
    if (stats.size > LARGEST_BYTES) throw unreadable(path, `cannot be read: is larger than ${LARGEST_BYTES / MIB} MiB`);
    return await file.readFile('utf8');
  });
}

async function readText(path: string, read: () => Promise<string>): Promise<string> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof ConfigurationError) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const reason = { ENOENT: 'no such file', EACCES: 'permission denied', EISDIR: 'is a directory' }[code];
    throw unreadable(path, `cannot be read: ${reason ?? String(error)}`, error);
  }
}

function unreadable(path: string, message: string, cause?: unknown): ConfigurationError {
  return new ConfigurationError(path, [{ path: '', message }], { cause });
}

/**
 * The configuration that a text holds, with what those flags say that hold beside a file (`isBesideFile`), as in kube-proxy; the
 * others are named in a warning. `source` is the file's name, for messages.
 * @throws ConfigurationError naming every wrong value.
 */
export function parseConfiguration(text: string, source: string, flags: GivenFlags = {}): LoadedConfiguration {
  checkFlagsBesideFile(flags);
  const { documents, warnings } = readDocuments(text, source);
  const [kubeProxy, ...moreKubeProxy] = documents.filter(document => isOfKind(document, KUBE_PROXY));
  const [node, ...moreNode] = documents.filter(document => isOfKind(document, NODE));
  const known = new Set([kubeProxy, node, ...moreKubeProxy, ...moreNode]);
  const problems = [
    ...[...moreKubeProxy, ...moreNode].map(secondProblem),
    ...documents.filter(document => !known.has(document)).map(strangerProblem),
    ...(documents.length === 0 ? [{ path: '', message: `holds no ${KUBE_PROXY.kind}` }] : []),
  ];
  const together = {
    kubeProxy: withFlags(kubeProxy?.fields ?? {}, flags, { isBesideFile: true }),
    node: node?.fields ?? {},
  };
  const loaded = checkDocuments(together, { source, problems });
  return withServer({ ...loaded, warnings: [...ignoredText(flags), ...warnings, ...loaded.warnings] }, flags);
}

/** So that a wrong flag isn't blamed on the file. */
function checkFlagsBesideFile(flags: GivenFlags): void {
  const checked = checkKubeProxyDocument(withFlags({}, flags, { isBesideFile: true }));
  const problems = [...('problems' in checked ? named(checked.problems, flagOfPath) : []), ...flagProblems(flags)];
  const ignored = new Set(ignoredFlags(flags));
  const wrong = problems.filter(({ path }) => !ignored.has(path));
  if (wrong.length > 0) throw new ConfigurationError(COMMAND_LINE, wrong);
}

/** Worth a line, because it surprises people: the flags look as if they had the last word. */
function ignoredText(flags: GivenFlags): string[] {
  const ignored = ignoredFlags(flags);
  return ignored.length === 0 ? [] : [`ignored because --config is given, as in kube-proxy: ${ignored.join(', ')}`];
}

function withServer(loaded: LoadedConfiguration, { master = '' }: GivenFlags): LoadedConfiguration {
  return master === '' ? loaded : { ...loaded, configuration: { ...loaded.configuration, apiServer: master } };
}

interface CheckOptions {
  readonly source: string;
  /** How people know a field. */
  readonly nameOf?: (path: string) => string;
  /** What is wrong already. */
  readonly problems?: readonly ConfigurationProblem[];
}

function checkDocuments(
  documents: { readonly kubeProxy: Mapping; readonly node: Mapping },
  { source, nameOf = path => path, problems = [] }: CheckOptions,
): LoadedConfiguration {
  const kubeProxy = checkKubeProxyDocument(documents.kubeProxy);
  const node = checkNodeDocument(documents.node);
  const found = [kubeProxy, node].flatMap(checked => ('problems' in checked ? checked.problems : []));
  if ('problems' in kubeProxy || 'problems' in node || problems.length > 0) {
    throw new ConfigurationError(source, [...problems, ...named(found, nameOf)]);
  }
  const fields = { kubeProxy: kubeProxy.fields, node: node.fields };
  const configuration = configurationOf(fields);
  const warnings = [
    ...kubeProxyWarnings(documents.kubeProxy, kubeProxy.fields, nameOf),
    ...nodeWarnings(documents.node),
    ...dnsWarnings(configuration.dns),
  ];
  return { configuration, fields, warnings };
}

function named(problems: readonly ConfigurationProblem[], nameOf: (path: string) => string): ConfigurationProblem[] {
  const known = new Map(
    problems.map(({ path, message }) => [`${nameOf(path)}: ${message}`, { path: nameOf(path), message }]),
  );
  // A flag may set several fields.
  return [...known.values()];
}

function isOfKind({ fields }: Document, { apiVersion, kind }: typeof KUBE_PROXY | typeof NODE): boolean {
  return fields.apiVersion === apiVersion && fields.kind === kind;
}

function secondProblem({ position, fields }: Document): ConfigurationProblem {
  return { path: `document ${position}`, message: `is a second ${String(fields.kind)}; one is allowed` };
}

function strangerProblem({ position, fields }: Document): ConfigurationProblem {
  const found = [fields.apiVersion, fields.kind].map(text => (text === undefined ? '(none)' : String(text)));
  const known = [KUBE_PROXY, NODE].map(({ apiVersion, kind }) => `${apiVersion} ${kind}`).join(' or ');
  return { path: `document ${position}`, message: `must be ${known}, is ${found.join(' ')}` };
}
