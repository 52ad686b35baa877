/** GC: what of a network the runtime no longer knows goes. */
import { isObject, refuse } from '../config/reader.ts';
import type { Attachment } from '../ipam/attachment.ts';
import { type AgentRequest, type AttachmentId, attachmentKey, CniError, CODE } from '../types.ts';

const LIST = 'cni.dev/valid-attachments';
const CHAINED = /:chained$/;

export interface Collection {
  /** Before it began, and not under way. */
  readonly candidates: readonly Attachment[];
  readonly remove: (id: AttachmentId) => Promise<void>;
}

/** @throws CniError 7 for a list that can't be read; 103 that lists every removal that failed, when all others are done */
export async function collectGarbage(request: AgentRequest, { candidates, remove }: Collection): Promise<void> {
  const valid = readValid(request);
  const isValid = ({ id }: Attachment) =>
    id.ifname === ''
      ? [...valid].some(key => key.startsWith(attachmentKey(id))) // an old file of host-local, which names no interface
      : valid.has(attachmentKey({ ...id, ifname: id.ifname.replace(CHAINED, '') }));
  const gone = candidates.filter(attachment => !isValid(attachment));
  const tried = await Promise.allSettled(gone.map(({ id }) => remove(id)));
  const failures = tried.flatMap((result, index) =>
    result.status === 'rejected' ? [`${attachmentKey(gone[index]!.id)}: ${messageOf(result.reason)}`] : [],
  );
  if (failures.length > 0)
    throw new CniError(
      CODE.kernel,
      `${failures.length} of ${gone.length} attachments could not be removed`,
      failures.join('; '),
    );
}

function readValid({ config }: AgentRequest): ReadonlySet<string> {
  const list = config[LIST];
  if (!Array.isArray(list)) return refuse(LIST, 'must be a list of attachments');
  const network = String(config.name);
  return new Set(
    list.map((entry: unknown, index) => {
      const { containerID, ifname } = isObject(entry) ? entry : {};
      if (typeof containerID !== 'string' || typeof ifname !== 'string')
        return refuse(`${LIST}[${index}]`, 'must have containerID and ifname');
      return attachmentKey({ network, containerID, ifname });
    }),
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
