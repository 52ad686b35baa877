/** How objects are written: plain JSON, Tables for kubectl, metadata only. The JSON text of each object is made once. */
import { type EventType, type StoreEvent, Version } from './history.ts';
import type { ListPage } from './list.ts';
import type { JsonObject, StoredObject } from './objects.ts';
import { apiVersionOf, type Resource } from './resource.ts';
import { columnsOf, type IncludeObject, tableRow } from './table.ts';

/** One way to write the objects of a resource. Its id is part of the key under which encoded events are kept. */
export interface View {
  readonly id: string;
  objectText(version: Version): string;
  listText(page: ListPage): string;
  /** The object of a bookmark event; `isInitialEnd` marks the end of the initial events (KEP-3157). */
  bookmarkText(revision: number, isInitialEnd: boolean): string;
}

function listMeta({ revision, continueToken, remaining }: ListPage): JsonObject {
  return {
    resourceVersion: String(revision),
    ...(continueToken === '' ? {} : { continue: continueToken }),
    ...(remaining === undefined ? {} : { remainingItemCount: remaining }),
  };
}

function bookmarkMeta(revision: number, isInitialEnd: boolean): JsonObject {
  const annotations = isInitialEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
  return { resourceVersion: String(revision), ...annotations };
}

/** The stored object under the field names of the resource that was asked for. */
function renamed(resource: Resource, object: StoredObject): JsonObject {
  const served = new Map(resource.storedAs?.renames);
  return Object.fromEntries(Object.entries(object).map(([field, value]) => [served.get(field) ?? field, value]));
}

/** Text of the object after its type fields, without the opening brace. */
function fieldsOf(resource: Resource, version: Version): string {
  if (resource.storedAs === undefined) return version.fields;
  const { kind: _kind, apiVersion: _apiVersion, ...rest } = renamed(resource, version.object);
  return JSON.stringify(rest).slice(1);
}

/** Objects as they are. */
export function plainView(resource: Resource): View {
  const type = { kind: resource.kind, apiVersion: apiVersionOf(resource) };
  const head = `${JSON.stringify(type).slice(0, -1)},`;
  return {
    id: `plain ${resource.id}`,
    objectText: version => head + fieldsOf(resource, version),
    listText: page => {
      const listHead = JSON.stringify({ ...type, kind: `${resource.kind}List`, metadata: listMeta(page) }).slice(0, -1);
      const items = page.versions.map(version => `{${fieldsOf(resource, version)}`);
      return `${listHead},"items":[${items.join(',')}]}`;
    },
    bookmarkText: (revision, isInitialEnd) =>
      JSON.stringify({ ...type, metadata: bookmarkMeta(revision, isInitialEnd), ...resource.zero }),
  };
}

/** Rows for people (`kubectl get`); ages are those of the moment of writing. */
export function tableView(resource: Resource, include: IncludeObject, now: () => Date): View {
  const type = { kind: 'Table', apiVersion: 'meta.k8s.io/v1' };
  const columnDefinitions = columnsOf(resource).map(({ cell: _cell, ...definition }) => definition);
  const table = (metadata: JsonObject, versions: readonly Version[]): string => {
    const time = now();
    const rows = versions.map(({ object }) => tableRow(resource, object, include, time));
    return JSON.stringify({ ...type, metadata, columnDefinitions, rows });
  };
  return {
    id: `table ${include} ${resource.id}`,
    objectText: version => table({ resourceVersion: String(version.revision) }, [version]),
    listText: page => table(listMeta(page), page.versions),
    bookmarkText: (revision, isInitialEnd) => table(bookmarkMeta(revision, isInitialEnd), []),
  };
}

/** PartialObjectMetadata: for clients that only need names and labels. */
export function metadataView(resource: Resource): View {
  const type = { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1' };
  const listType = { ...type, kind: 'PartialObjectMetadataList' };
  return {
    id: `metadata ${resource.id}`,
    objectText: ({ object }) => JSON.stringify({ ...type, metadata: object.metadata }),
    listText: page => {
      const items = page.versions.map(({ object }) => ({ ...type, metadata: object.metadata }));
      return JSON.stringify({ ...listType, metadata: listMeta(page), items });
    },
    bookmarkText: (revision, isInitialEnd) =>
      JSON.stringify({ ...type, metadata: bookmarkMeta(revision, isInitialEnd) }),
  };
}

/** A line of a watch. */
export function eventText(type: string, objectText: string): string {
  return `{"type":"${type}","object":${objectText}}\n`;
}

/** The state that an event shows: an object that left a selection is shown as it was, under the new version. */
function shownVersion(event: StoreEvent, type: EventType): Version {
  const { current, previous } = event;
  if (type !== 'DELETED' || event.type === 'DELETED' || previous === undefined) return current;
  const metadata = { ...previous.object.metadata, resourceVersion: String(current.revision) };
  return new Version(current.key, current.revision, { ...previous.object, metadata });
}

/** The line of a stored event in a view, encoded once for all watches that show it in the same way. */
export function eventLine(event: StoreEvent, type: EventType, view: View): Buffer {
  return event.line(`${type} ${view.id}`, () =>
    Buffer.from(eventText(type, view.objectText(shownVersion(event, type)))),
  );
}
