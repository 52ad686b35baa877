import { ApiError } from './api-error.ts';

const NEWLINE = 10;
/** Twenty times what etcd stores in one object by default; a longer line is no watch event. */
const LONGEST_LINE_BYTES = 32 * 1024 * 1024;

/**
 * Cuts a byte stream into lines, wherever its chunks begin and end. It works on bytes, so that a character whose UTF-8
 * bytes arrive in two chunks stays whole (no byte of it equals a newline).
 */
export class LineSplitter {
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;

  /** Bytes of the last line, which hasn't ended yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** The lines that this chunk completes, without empty ones. Throws an ApiError for a line of more than 32 MiB. */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = this.#complete(chunk.subarray(start, end));
      if (line.trim() !== '') lines.push(line);
      start = end + 1;
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
    return lines;
  }

  #complete(last: Uint8Array): string {
    const bytes = this.#pendingBytes === 0 ? last : Buffer.concat([...this.#pending, last]);
    this.#pending = [];
    this.#pendingBytes = 0;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  }

  #keep(rest: Uint8Array): void {
    this.#pending.push(rest);
    this.#pendingBytes += rest.length;
    if (this.#pendingBytes > LONGEST_LINE_BYTES) throw new ApiError('protocol', 'a line of more than 32 MiB');
  }
}
