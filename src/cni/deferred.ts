/**
 * DELs that came while nobody listened at the agent's socket: a file each, in DEFERRED_DIRECTORY, until the agent serves them. The plugin
 * writes them, the agent reads them. Pure.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { AGENT_PROTOCOL, type AgentRequest, type AttachmentId, attachmentKey } from './types.ts';

/** Of the format; an agent leaves files of others alone. */
const VERSION = 1;

/** One file for an attachment, however often its DEL is repeated. A hash, as a container's name may be longer than a file's. */
export function deferredFileName(id: AttachmentId): string {
  const hash = sha256(utf8(attachmentKey(id)));
  return `${Array.from(hash, byte => byte.toString(16).padStart(2, '0')).join('')}.json`;
}

export const deferredText = (request: AgentRequest) => `${JSON.stringify({ version: VERSION, request })}\n`;

/** Undefined for what is none of ours. */
export function readDeferred(text: string): AgentRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (!isRecord(value) || value.version !== VERSION) return undefined;
  const { request } = value;
  if (!isRecord(request) || request.protocol !== AGENT_PROTOCOL || request.command !== 'DEL') return undefined;
  const { containerID, ifname, netns, args, config } = request;
  const isWhole =
    [containerID, ifname, netns].every(text => typeof text === 'string') && isRecord(args) && isRecord(config);
  return isWhole && typeof config.name === 'string' ? (request as unknown as AgentRequest) : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** There is no TextEncoder in the plugin. Lone surrogates become U+FFFD, as TextEncoder has it. */
export function utf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const said = character.codePointAt(0) ?? 0;
    const code = said >= 0xd800 && said <= 0xdfff ? 0xfffd : said;
    const follow = (shift: number) => 0x80 | ((code >> shift) & 0x3f);
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), follow(0));
    else if (code < 0x1_0000) bytes.push(0xe0 | (code >> 12), follow(6), follow(0));
    else bytes.push(0xf0 | (code >> 18), follow(12), follow(6), follow(0));
  }
  return Uint8Array.from(bytes);
}
