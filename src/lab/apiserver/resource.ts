/** What the server has to know of a kind of object that it serves. */

export interface Resource {
  /** Name in the Store: the plural, qualified where a plural occurs twice. */
  readonly id: string;
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly shortNames: readonly string[];
  readonly categories?: readonly string[];
  /** Has a `/status` subresource, so that an ordinary update keeps the old status. */
  readonly hasStatus: boolean;
  /** A create keeps the status that the client sent (Nodes register themselves with it). */
  readonly keepsStatusOnCreate?: boolean;
  /** DELETE answers the last state of the object, not a Status. */
  readonly returnsDeleted?: boolean;
  /** PUT on a missing name creates it. */
  readonly createsOnUpdate?: boolean;
  /** What names must be: an RFC 1123 label or subdomain. */
  readonly nameForm: 'label' | 'subdomain';
  /** Field selectors besides metadata.name and metadata.namespace. */
  readonly fieldSelectors: readonly string[];
  /** What an object without any content prints as (Go zero values without omitempty): the body of bookmarks. */
  readonly zero: Readonly<Record<string, unknown>>;
  /** Same objects as another resource under other field names: where they are kept, and [stored, served] names. */
  readonly storedAs?: { readonly id: string; readonly renames: readonly (readonly [string, string])[] };
}

/** `v1`, `discovery.k8s.io/v1`. */
export function apiVersionOf(resource: Resource): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}
