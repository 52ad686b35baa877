/** The documents by which clients learn what the server has: versions, groups, resources, and a small OpenAPI v3. */
import type { JsonObject } from './objects.ts';
import type { Resource } from './resource.ts';
import { groupVersions, resources } from './resources.ts';

/** The release whose behaviour this server follows, as recorded from it. */
export const versionDocument = {
  major: '1',
  minor: '36',
  emulationMajor: '1',
  emulationMinor: '36',
  minCompatibilityMajor: '1',
  minCompatibilityMinor: '35',
  gitVersion: 'v1.36.2',
  gitCommit: '$Format:%H$',
  gitTreeState: '',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: 'go1.26.10',
  compiler: 'gc',
  platform: 'linux/amd64',
} as const;

const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

function groupVersion(group: string, version: string): string {
  return group === '' ? version : `${group}/${version}`;
}

function groupDocument(group: string, version: string): JsonObject {
  const entry = { groupVersion: groupVersion(group, version), version };
  return { name: group, versions: [entry], preferredVersion: entry };
}

function resourceEntries(resource: Resource): JsonObject[] {
  const { plural, singular, kind, namespaced, shortNames, categories } = resource;
  const entry = {
    name: plural,
    singularName: singular,
    namespaced,
    kind,
    verbs,
    ...(shortNames.length === 0 ? {} : { shortNames }),
    ...(categories === undefined ? {} : { categories }),
  };
  if (!resource.hasStatus) return [entry];
  const status = { name: `${plural}/status`, singularName: '', namespaced, kind, verbs: ['get', 'patch', 'update'] };
  return [entry, status];
}

function resourceList(group: string, version: string): JsonObject {
  const rows: readonly Resource[] = resources;
  const own = rows.filter(row => row.group === group && row.version === version);
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: groupVersion(group, version),
    resources: own.flatMap(resourceEntries),
  };
}

function openApiPath(group: string, version: string): string {
  return group === '' ? `api/${version}` : `apis/${group}/${version}`;
}

function openApiIndex(served: ReturnType<typeof groupVersions>): JsonObject {
  const paths = served.map(({ group, version }) => {
    const path = openApiPath(group, version);
    return [path, { serverRelativeURL: `/openapi/v3/${path}` }];
  });
  return { paths: Object.fromEntries(paths) };
}

/** Just enough for kubectl to see that the server takes `fieldValidation`, so that it leaves checking to the server. */
function openApiDocument(group: string, version: string): JsonObject {
  const rows: readonly Resource[] = resources;
  const paths = rows
    .filter(row => row.group === group && row.version === version)
    .map(row => {
      const scope = row.namespaced ? 'namespaces/{namespace}/' : '';
      const operation = {
        'x-kubernetes-group-version-kind': { group, kind: row.kind, version },
        parameters: ['dryRun', 'fieldManager', 'fieldValidation', 'force'].map(name => ({ name, in: 'query' })),
        responses: {},
      };
      const path = `/${openApiPath(group, version)}/${scope}${row.plural}/{name}`;
      return [path, { patch: operation }];
    });
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: versionDocument.gitVersion },
    paths: Object.fromEntries(paths),
    components: { schemas: {} },
  };
}

function coreVersions(address: string): JsonObject {
  const serverAddressByClientCIDRs = [{ clientCIDR: '0.0.0.0/0', serverAddress: address }];
  return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs };
}

export interface DiscoveryOptions {
  /** The server's own `host:port`. */
  readonly address: string;
  /** Groups that aren't served. */
  readonly without: ReadonlySet<string>;
}

/** The discovery document at a path, undefined when there is none. */
export function discoveryDocument(pathname: string, { address, without }: DiscoveryOptions): JsonObject | undefined {
  const path = pathname.replace(/\/$/, '');
  const served = groupVersions().filter(({ group }) => !without.has(group));
  if (path === '/version') return versionDocument;
  if (path === '/api') return coreVersions(address);
  const named = served.filter(({ group }) => group !== '');
  if (path === '/apis') {
    const groups = named.map(({ group, version }) => groupDocument(group, version));
    return { kind: 'APIGroupList', apiVersion: 'v1', groups };
  }
  if (path === '/openapi/v3') return openApiIndex(served);
  for (const { group, version } of served) {
    const root = `/${openApiPath(group, version)}`;
    if (path === root) return resourceList(group, version);
    if (path === `/openapi/v3${root}`) return openApiDocument(group, version);
    if (group !== '' && path === `/apis/${group}`) {
      return { kind: 'APIGroup', apiVersion: 'v1', ...groupDocument(group, version) };
    }
  }
  return undefined;
}

/** With a dot, as Go can't read the `@` of the type that clients ask for. */
const openApiV2Protobuf = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

/**
 * An OpenAPI v2 document without any schema: older kubectl asks for one before it sends an object, and doesn't check
 * kinds that it doesn't find. Such clients read protobuf only: field 1 of gnostic's Document, `swagger`.
 */
export function openApiV2(accept: string): { readonly type: string; readonly body: string } {
  if (accept.includes('proto-openapi.spec.v2')) return { type: openApiV2Protobuf, body: '\n\u00032.0' };
  const info = { title: 'Kubernetes', version: versionDocument.gitVersion };
  return { type: 'application/json', body: JSON.stringify({ swagger: '2.0', info, paths: {} }) };
}
