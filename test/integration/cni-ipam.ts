/** IPAM plugins of others, as scripts in the node's directory: that is their CNI_PATH. */
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CniResult } from '../../src/cni/types.ts';
import type { CniNode } from './cni-node.ts';

/** Makes one that gives this to everybody. @returns its type */
export async function givenBy(node: CniNode, type: string, result: CniResult): Promise<string> {
  const file = join(node.directory, type);
  const text = JSON.stringify({ cniVersion: '1.1.0', ...result });
  const script = [
    '#!/bin/sh',
    `printf '%s %s ' "$CNI_COMMAND" "$CNI_CONTAINERID" >> ${file}.calls`,
    `tr -d '\\n' >> ${file}.calls; echo >> ${file}.calls`,
    `if [ "$CNI_COMMAND" = ADD ]; then echo '${text}'; fi`,
  ];
  await writeFile(file, `${script.join('\n')}\n`);
  await chmod(file, 0o755);
  return type;
}

/** Verb, container and configuration of each call of it. */
export async function callsOf(node: CniNode, type: string): Promise<readonly string[]> {
  const text = await readFile(join(node.directory, `${type}.calls`), 'utf8');
  return text.split('\n').filter(line => line !== '');
}
