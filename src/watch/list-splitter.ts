import { ApiError } from './api-error.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const MOST_BYTES = 32 * 1024 * 1024;
/** The depth of the elements of a list that is a field of the document. */
const ELEMENT_DEPTH = 2;

/**
 * Cuts the JSON text of an API list into its items while it arrives, so that a list of any size needs no more memory than
 * its largest item: kube-apiserver answers `resourceVersion=0` in one piece, whatever the limit. Works on bytes: no byte of
 * a UTF-8 sequence equals a JSON delimiter. Only finds the cuts; JSON.parse judges each item, and what is around them.
 */
export class ListSplitter {
  /** The text without the items. */
  readonly #frame: Uint8Array[] = [];
  #frameBytes = 0;
  #element: Uint8Array[] = [];
  #elementBytes = 0;
  #depth = 0;
  #isInString = false;
  #isEscaped = false;
  #isInItems = false;

  /** The texts of the items that this chunk completes. Throws an ApiError for more than 32 MiB in an item or around them. */
  push(chunk: Uint8Array): string[] {
    const items: string[] = [];
    let start = 0;
    for (let index = 0; index < chunk.length; index += 1) {
      const isCut = this.#step(chunk[index] as number);
      if (!isCut) continue;
      // The bracket that opens the list belongs to the frame, everything up to a comma or the closing one to an item.
      if (this.#isInItems && chunk[index] === OPEN_LIST) {
        this.#frame.push(chunk.subarray(start, index + 1));
        if (!this.#isItemsNext()) this.#isInItems = false;
        start = index + 1;
      } else {
        items.push(...this.#complete(chunk.subarray(start, index)));
        start = chunk[index] === COMMA ? index + 1 : index;
      }
    }
    this.#keep(chunk.subarray(start));
    return items;
  }

  /** The text of the list with `[]` in the place of its items. */
  get frame(): string {
    return Buffer.concat(this.#frame).toString('utf8');
  }

  /** Whether the text is cut here: behind the bracket that may open the items, at a comma between them, at their end. */
  #step(byte: number): boolean {
    if (this.#isInString) {
      if (this.#isEscaped) this.#isEscaped = false;
      else if (byte === BACKSLASH) this.#isEscaped = true;
      else if (byte === QUOTE) this.#isInString = false;
      return false;
    }
    switch (byte) {
      case QUOTE:
        this.#isInString = true;
        return false;
      case OPEN_OBJECT:
      case OPEN_LIST:
        this.#depth += 1;
        if (byte !== OPEN_LIST || this.#depth !== ELEMENT_DEPTH || this.#isInItems) return false;
        this.#isInItems = true;
        return true;
      case CLOSE_OBJECT:
      case CLOSE_LIST: {
        const isEnd = this.#isInItems && byte === CLOSE_LIST && this.#depth === ELEMENT_DEPTH;
        this.#depth -= 1;
        if (isEnd) this.#isInItems = false;
        return isEnd;
      }
      default:
        return byte === COMMA && this.#isInItems && this.#depth === ELEMENT_DEPTH;
    }
  }

  #isItemsNext(): boolean {
    return /"items"\s*:\s*\[$/.test(this.frame);
  }

  #keep(rest: Uint8Array): void {
    if (rest.length === 0) return;
    if (!this.#isInItems) {
      this.#frame.push(rest);
      this.#frameBytes += rest.length;
      if (this.#frameBytes > MOST_BYTES)
        throw new ApiError('protocol', 'a list with more than 32 MiB around its items');
      return;
    }
    this.#element.push(rest);
    this.#elementBytes += rest.length;
    if (this.#elementBytes > MOST_BYTES) throw new ApiError('protocol', 'an item of more than 32 MiB');
  }

  #complete(last: Uint8Array): string[] {
    const text = Buffer.concat([...this.#element, last]).toString('utf8');
    this.#element = [];
    this.#elementBytes = 0;
    return text.trim() === '' ? [] : [text];
  }
}
