/** From the journal into a book, when the agent starts. */

import { canonicalIP } from '../../net/ip.ts';
import { attachmentKey, CniError } from '../types.ts';
import { type Attachment, decodeAttachment } from './attachment.ts';
import type { AttachmentBook, BookTable, Rest } from './book.ts';
import type { FoundRow, Journal, RowChange } from './journal.ts';

/** A row that couldn't be read; its pod, if it lives, must be found in the kernel. */
export interface BadRow {
  /** The identity of the attachment as far as the row has one. */
  readonly key: readonly string[];
  readonly why: string;
}

export interface Loaded {
  /** `other-boot`: nothing of what was there holds any more. */
  readonly kind: 'new' | 'same-boot' | 'other-boot';
  readonly badRows: readonly BadRow[];
  /** Records of another boot, which are gone now. */
  readonly dropped: readonly Attachment[];
  readonly attachments: readonly Attachment[];
  readonly rests: readonly Rest[];
  readonly lastGiven: readonly (readonly [network: string, setKey: string, ip: string])[];
  /** Rows of rests that can't be read; they are worth nothing. */
  readonly lost: readonly { readonly table: BookTable; readonly key: readonly string[] }[];
}

const BOOT_ID = 'boot_id';

/** The row that says to which boot a file belongs. */
export function bootRow(bootId: string): RowChange {
  return { table: 'about', key: [BOOT_ID], value: bootId };
}

/** @param about the rows of the table `about` */
export function bootIdIn(about: readonly FoundRow[]): unknown {
  return about.find(({ key }) => key[0] === BOOT_ID)?.value;
}

/** What a file has. One of another boot is emptied. @throws CorruptError, or SQLite's own error */
export function load(journal: Journal, bootId: string): Loaded {
  const found = bootIdIn(journal.rows('about'));
  const { attachments, badRows } = readAttachments(journal.rows('attachments'));
  if (found === bootId) return { kind: 'same-boot', attachments, badRows, dropped: [], ...readPools(journal) };
  journal.replace([bootRow(bootId)]);
  const none = { attachments: [], badRows: [], rests: [], lastGiven: [], lost: [] };
  return { ...none, kind: found === undefined ? 'new' : 'other-boot', dropped: attachments };
}

/** Fills an empty book. What contradicts itself is left out, and returned with the bad rows. */
export function fill(book: AttachmentBook, { attachments, rests, lastGiven, badRows }: Loaded): readonly BadRow[] {
  const contradictions: BadRow[] = [];
  for (const attachment of attachments) {
    try {
      book.adopt(attachment);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      const { network, containerID, ifname } = attachment.id;
      contradictions.push({ key: [network, containerID, ifname], why: error.message });
    }
  }
  for (const rest of rests) book.restAgain(rest);
  for (const [network, setKey, ip] of lastGiven) book.goOnBehind(network, setKey, ip);
  return [...badRows, ...contradictions];
}

export function readAttachments(rows: readonly FoundRow[]): Pick<Loaded, 'attachments' | 'badRows'> {
  const attachments: Attachment[] = [];
  const badRows: BadRow[] = [];
  for (const { key, value } of rows) {
    const [network = '', containerID = '', ifname = ''] = key.map(String);
    try {
      const attachment = decodeAttachment({ network, containerID, ifname }, value);
      attachments.push(attachment);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      badRows.push({ key: [network, containerID, ifname], why: error.message });
    }
  }
  return { attachments, badRows };
}

export function badRowText({ key: [network = '', containerID = '', ifname = ''], why }: BadRow): string {
  return `${attachmentKey({ network, containerID, ifname })}: ${why}`;
}

function readPools(journal: Journal): Pick<Loaded, 'rests' | 'lastGiven' | 'lost'> {
  const rests: Rest[] = [];
  const lost: { table: BookTable; key: readonly string[] }[] = [];
  for (const { key, value } of journal.rows('rests')) {
    const rest = readRest({ key, value });
    if (rest === undefined) lost.push({ table: 'rests', key: key.map(String) });
    else rests.push(rest);
  }
  const lastGiven = journal
    .rows('last_given')
    .map(({ key, value }) => [String(key[0]), String(key[1]), String(value)] as const);
  return { rests: rests.toSorted((a, b) => a.sinceMs - b.sinceMs), lastGiven, lost };
}

/** Also of a file that is only looked at. */
export function readRest({ key: [network, address], value }: FoundRow): Rest | undefined {
  const ip = canonicalIP(String(address));
  if (ip === undefined || typeof value !== 'number') return undefined;
  return { network: String(network), ip, sinceMs: value };
}
