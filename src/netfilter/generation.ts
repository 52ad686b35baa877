/** The question for nf_tables' generation. Pure. */
import { MessageWriter } from './attributes.ts';
import { NFT, REQUEST } from './messages.ts';

/** Asks for the generation: the number of the last commit. */
export function generationRequest(): Buffer {
  const out = new MessageWriter(32);
  out.begin({ type: NFT.getGeneration, flags: REQUEST, sequence: 0, family: 0 });
  out.end();
  return out.bytes();
}
