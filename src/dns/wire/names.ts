/**
 * Names as text and as bytes. In a label, what isn't a plain character is told as `\\DDD` (RFC 4343 §2.1), dots within it too: such names are
 * nobody's here, but can be asked for.
 */

/** RFC 1035 §2.3.4, with the root label. */
export const MOST_NAME_BYTES = 255;
export const MOST_LABEL_BYTES = 63;

/** The labels of an uncompressed name that ends with the root label, as text. @param name its bytes as latin1 */
export function labelsIn(name: string): string[] {
  const labels: string[] = [];
  for (let at = 0; at < name.length; ) {
    const length = name.charCodeAt(at);
    if (length === 0) break;
    const end = at + 1 + length;
    const label = name.slice(at + 1, end);
    labels.push(isPlain(name, at + 1, end) ? label : labelText(label));
    at = end;
  }
  return labels;
}

/** The same as one text without the closing dot; '' is the root. */
export function nameText(bytes: Buffer, from = 0): string {
  return labelsIn(bytes.toString('latin1', from)).join('.');
}

/** By code: what stands in text as it is. A regular expression for each label takes longer than all the rest of a miss. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, code) => (/^[\w*-]$/.test(String.fromCharCode(code)) ? 1 : 0));

function isPlain(name: string, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) if (PLAIN[name.charCodeAt(at)] !== 1) return false;
  return true;
}

function labelText(label: string): string {
  return label.replaceAll(/[^!-~]|[.\\"();@$]/g, char => `\\${String(char.charCodeAt(0)).padStart(3, '0')}`);
}

/** The labels of a name in text. */
function labelBytesOf(name: string): readonly Buffer[] {
  if (name === '') return [];
  if (!name.includes('\\')) return name.split('.').map(label => Buffer.from(label, 'latin1'));
  const plain = (label: string) =>
    label.replaceAll(/\\(?:(\d{3})|(.))/g, (_, digits: string | undefined, char: string | undefined) =>
      digits === undefined ? (char ?? '') : String.fromCharCode(Number(digits) & 255),
    );
  return (name.match(/(?:[^.\\]|\\\d{3}|\\.)+/g) ?? []).map(label => Buffer.from(plain(label), 'latin1'));
}

/** A name as bytes, uncompressed, with the root label. @throws RangeError where a label or the name is too long, or a label empty */
export function wireName(name: string): Buffer {
  const labels = labelBytesOf(name);
  const bytes = Buffer.concat([...labels.flatMap(label => [Buffer.of(label.length), label]), Buffer.of(0)]);
  const isWhole = labels.every(({ length }) => length > 0 && length <= MOST_LABEL_BYTES);
  if (!isWhole || bytes.length > MOST_NAME_BYTES) throw new RangeError(`not a name that DNS can tell: ${name}`);
  return bytes;
}
