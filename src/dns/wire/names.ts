/**
 * Names as text and as bytes. In a label, what isn't a plain character is told as `\\DDD` (RFC 4343 §2.1), dots within it too: such names are
 * nobody's here, but can be asked for.
 */

/** The labels of an uncompressed name that ends with the root label, as text without the closing dot; '' is the root. */
export function nameText(bytes: Buffer, from = 0): string {
  const labels: string[] = [];
  for (let at = from; bytes[at] !== undefined && bytes[at] !== 0; at += bytes[at]! + 1) {
    labels.push(labelText(bytes.toString('latin1', at + 1, at + 1 + bytes[at]!)));
  }
  return labels.join('.');
}

function labelText(label: string): string {
  if (/^[\w*-]*$/.test(label)) return label;
  return label.replaceAll(/[^!-~]|[.\\"();@$]/g, char => `\\${String(char.charCodeAt(0)).padStart(3, '0')}`);
}

/** The labels of a name in text. */
function labelsOf(name: string): readonly Buffer[] {
  if (name === '') return [];
  if (!name.includes('\\')) return name.split('.').map(label => Buffer.from(label, 'latin1'));
  const plain = (label: string) =>
    label.replaceAll(/\\(?:(\d{3})|(.))/g, (_, digits: string | undefined, char: string | undefined) =>
      digits === undefined ? (char ?? '') : String.fromCharCode(Number(digits) & 255),
    );
  return (name.match(/(?:[^.\\]|\\\d{3}|\\.)+/g) ?? []).map(label => Buffer.from(plain(label), 'latin1'));
}

/** A name as bytes, uncompressed, with the root label. */
export function wireName(name: string): Buffer {
  return Buffer.concat([...labelsOf(name).flatMap(label => [Buffer.of(label.length), label]), Buffer.of(0)]);
}
