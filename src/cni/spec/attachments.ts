/** What a GC is to keep. Pure. */
import { CniError, CODE } from '../types.ts';
import { isObject, type Json } from './json.ts';

const KEY = 'cni.dev/valid-attachments';
/** What libcni sends beside the key of the specification. */
const LEGACY_KEY = 'cni.dev/attachments';

export interface ValidAttachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** No list is not an empty list: it would remove everything. @throws CniError 7 */
export function readAttachments(config: Json): ValidAttachment[] {
  const [key, list] = [KEY, LEGACY_KEY]
    .map(name => [name, config[name] ?? undefined] as const)
    .find(([, value]) => value !== undefined) ?? [KEY];
  if (list === undefined) throw wrong(key, 'is missing');
  if (!Array.isArray(list)) throw wrong(key, 'must be a list');
  return list.map((entry: unknown, index) => {
    const { containerID, ifname } = isObject(entry) ? entry : {};
    if (typeof containerID === 'string' && typeof ifname === 'string' && containerID !== '' && ifname !== '')
      return { containerID, ifname };
    throw wrong(`${key}[${index}]`, 'must be an object with containerID and ifname');
  });
}

const wrong = (field: string, problem: string) => new CniError(CODE.badConfiguration, `${field}: ${problem}`);
