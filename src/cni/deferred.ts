/** DELs that found no agent, on disk until there is one. Pure; the plugin writes them and the agent reads them. */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { type AgentRequest, type AttachmentId, attachmentKey } from './types.ts';

/** A later DEL of the same attachment takes the place of an earlier one. Names of containers may be longer than those of files. */
export function deferredName(id: AttachmentId): string {
  return `${bytesToHex(sha256(utf8ToBytes(attachmentKey(id))))}.json`;
}

export const isDeferredName = (name: string) => /^[0-9a-f]{64}\.json$/.test(name);

export function deferredText(request: AgentRequest): string {
  return JSON.stringify({ version: 1, request });
}

/** undefined for what is no such file, or of a later version. */
export function parseDeferred(text: string): AgentRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // a file that somebody damaged
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { version, request } = value as { version?: unknown; request?: AgentRequest };
  const isOne = version === 1 && request?.command === 'DEL' && typeof request.config?.name === 'string';
  return isOne && typeof request.containerID === 'string' && typeof request.ifname === 'string' ? request : undefined;
}
