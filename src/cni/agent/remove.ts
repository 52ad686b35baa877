/** Takes back what an attachment has: links, rules, flows, addresses. */
import { type Attachment, addressOf } from '../ipam/attachment.ts';
import { type AttachmentId, attachmentKey, CniError, CODE } from '../types.ts';
import { aliasOf, hostLinkOf } from '../wiring/names.ts';
import type { HeldPorts } from './messages.ts';
import type { AgentParts } from './parts.ts';

/**
 * Everything is tried; the record goes last, and stays when something couldn't be removed, so that the next DEL finds it. There need be nothing.
 * @throws CniError that lists what is left
 */
export async function removeAttachment(parts: AgentParts, id: AttachmentId): Promise<void> {
  const { store, wiring, rules, flows, localnet } = parts;
  const attachment = store.get(id);
  const tried = await Promise.allSettled([
    wiring.detach({ hostLink: hostLinkOf(id), alias: aliasOf(id) }),
    rules.remove(attachmentKey(id)).then(() => localnet.follow()),
  ]);
  refuseIfAny(tried);
  if (attachment === undefined) return;
  refuseIfAny(await Promise.allSettled([flows.flush(flowsOf(attachment))]));
  await store.release(id);
  if (attachment.hostPorts.length > 0) parts.tellPorts({ ...heldPorts(attachment, []), hostPorts: [] });
}

/** For whoever knows the Services. */
export function heldPorts({ id, pod, hostPorts }: Attachment, listeners: HeldPorts['listeners']): HeldPorts {
  return { key: attachmentKey(id), pod: pod ?? { namespace: '', name: '', uid: '' }, hostPorts, listeners };
}

function flowsOf({ addresses, hostPorts }: Attachment) {
  return { addresses: addresses.map(addressOf), hostPorts };
}

function refuseIfAny(tried: readonly PromiseSettledResult<unknown>[]): void {
  const failures = tried.flatMap(result => (result.status === 'rejected' ? [result.reason as unknown] : []));
  if (failures.length === 0) return;
  const [first] = failures;
  const text = failures.map(failure => (failure instanceof Error ? failure.message : String(failure))).join('; ');
  throw new CniError(first instanceof CniError ? first.code : CODE.kernel, text);
}
