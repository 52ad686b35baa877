/** An attachment in memory, small: thousands of pods have one each. Pure. */
import type { AttachmentId, HostPort, PodName } from '../types.ts';
import type { Attachment, KeptAddress } from './attachment.ts';

/** A configuration as JSON, which all attachments share that have the same. */
interface SharedText {
  readonly text: string;
  users: number;
  /** Parsed once somebody asked, while more than one have it. */
  parsed?: unknown;
}

export class SharedTexts {
  readonly #texts = new Map<string, SharedText>();

  acquire(text: string): SharedText {
    const known = this.#texts.get(text);
    if (known !== undefined) {
      known.users++;
      return known;
    }
    const shared = { text, users: 1 };
    this.#texts.set(text, shared);
    return shared;
  }

  release(shared: SharedText): void {
    if (--shared.users === 0) this.#texts.delete(shared.text);
  }

  get size(): number {
    return this.#texts.size;
  }
}

/** `config` is read from its JSON on demand: a spread of this object doesn't copy it, `copyOf` does. Don't change what it returns. */
export class KeptAttachment implements Attachment {
  readonly id: AttachmentId;
  readonly state: Attachment['state'];
  readonly createdAt: number;
  readonly addresses: readonly KeptAddress[];
  readonly hostPorts: readonly HostPort[];
  readonly netns: string;
  declare readonly isDelegated?: boolean;
  declare readonly netnsId?: string;
  declare readonly hostLink?: string;
  declare readonly mac?: string;
  declare readonly pod?: PodName;
  declare readonly leaseFiles?: readonly string[];
  readonly #config: SharedText;

  constructor(attachment: Attachment, texts: SharedTexts) {
    this.id = attachment.id;
    this.state = attachment.state;
    this.createdAt = attachment.createdAt;
    this.addresses = attachment.addresses;
    this.hostPorts = attachment.hostPorts;
    this.netns = attachment.netns;
    const { isDelegated, netnsId, hostLink, mac, pod, leaseFiles } = attachment;
    if (isDelegated === true) this.isDelegated = true;
    if (netnsId !== undefined) this.netnsId = netnsId;
    if (hostLink !== undefined) this.hostLink = hostLink;
    if (mac !== undefined) this.mac = mac;
    if (pod !== undefined) this.pod = pod;
    if (leaseFiles !== undefined) this.leaseFiles = leaseFiles;
    this.#config = texts.acquire(JSON.stringify(attachment.config) ?? 'null');
  }

  get config(): unknown {
    const shared = this.#config;
    if (shared.parsed !== undefined) return shared.parsed;
    const parsed: unknown = JSON.parse(shared.text);
    if (shared.users > 1) shared.parsed = parsed;
    return parsed;
  }

  /** To be called once, when nobody can ask for this attachment any more. */
  forget(texts: SharedTexts): void {
    texts.release(this.#config);
  }
}

/** All of it as plain data. */
export function copyOf(attachment: Attachment): Attachment {
  return { ...attachment, config: attachment.config };
}
