import { MessageWriter } from '../../netfilter/attributes.ts';
import { BatchWriter, type Element, NFT } from '../../netfilter/messages.ts';
import type { Applied, Changes } from '../backend.ts';
import { type ApplyContext, RefusedError } from './apply.ts';
import { endpointOfBytes } from './bytes.ts';
import { elementsOf, untilWhole } from './dumps.ts';
import type { ForeignChanges } from './foreign-changes.ts';
import { TABLE } from './names.ts';
import type { MembersObject, NftObject } from './objects.ts';
import { OnceEach } from './once-each.ts';
import { layoutOf } from './packet.ts';

/** It has expired meanwhile, or its map is gone. */
const ENOENT = 2;
/** Elements that are deleted together: one message of less than 64 kB. */
const BATCH = 1024;

type Place = Pick<ApplyContext, 'family' | 'kernel'> & { readonly foreign?: ForeignChanges };

/** Makes the kernel forget the clients of endpoints that changes took away: they choose anew at their next connection. */
export async function forgetClients(
  changes: Changes<NftObject>,
  { failures }: Applied<NftObject>,
  io: Place,
): Promise<void> {
  const failed = new Set(failures.map(({ key }) => key));
  for (const [key, { before, after }] of changes.updated) {
    if (before.kind !== 'members' || after.kind !== 'members' || failed.has(key)) continue;
    if (before.endpoints.some(text => !after.endpoints.includes(text))) await forget(after, io);
  }
}

/** The same of every map, for what an earlier process, or an error, left undone. */
export async function forgetAll(plan: ReadonlyMap<string, NftObject>, io: Place): Promise<void> {
  for (const object of plan.values()) if (object.kind === 'members') await forget(object, io);
}

/** Of one map. Clients come and expire all the time: a listing may leave some out, and tell others twice. */
const LISTINGS = 5;

/** Deletes the elements of the map that lead to none of its endpoints, until a whole listing has none. */
async function forget({ map, endpoints }: MembersObject, io: Place): Promise<void> {
  const known = new Set(endpoints);
  const isStale = ({ data }: Element) => data instanceof Uint8Array && !known.has(endpointOfBytes(data));
  for (let listing = 1; listing <= LISTINGS; listing += 1) {
    const all = await untilWhole(() => elementsOf(io.kernel, { family: io.family, table: TABLE, set: map }));
    const once = new OnceEach();
    const clients = all.filter(client => once.isFirst(map, client));
    const stale = clients.filter(isStale).map(({ key }) => key);
    if (stale.length === 0 && clients.length === all.length) return;
    for (let at = 0; at < stale.length; at += BATCH) await deleteClients(map, stale.slice(at, at + BATCH), io);
  }
}

/** One that has expired meanwhile keeps the others of its batch from being deleted: then the halves are tried. */
async function deleteClients(map: string, clients: readonly Buffer[], io: Place): Promise<void> {
  const { kernel, family } = io;
  const out = new MessageWriter();
  const batch = new BatchWriter(out, { family: layoutOf(family).protocol, table: TABLE, sequence: 0 });
  batch.beginBatch();
  const list = batch.beginElements(NFT.delElement, map);
  for (const key of clients) batch.element({ key });
  batch.endElements(list);
  batch.endBatch();
  const [refusal] = await kernel.commit(out.bytes());
  if (refusal === undefined) {
    io.foreign?.noteOwn();
    return;
  }
  if (refusal.errno !== ENOENT) throw new RefusedError(`to forget clients of ${map}`, refusal.errno);
  if (clients.length === 1) return;
  const half = clients.length >> 1;
  await deleteClients(map, clients.slice(0, half), io);
  await deleteClients(map, clients.slice(half), io);
}
