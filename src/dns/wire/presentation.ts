/** Records of a message as people write them (RFC 1035 §5.1, RFC 3597 §5). Pure. */
import { formatIPv4, formatIPv6 } from '../../net/ip.ts';
import { TYPE } from '../records.ts';
import { typeName } from '../types.ts';
import { expandedData, expandedName, type Message, type RawRecord, type Section } from './message.ts';
import { nameText } from './names.ts';

const TYPE_MX = 15;

export interface PresentedRecord {
  readonly section: Section;
  /** With the closing dot, as in `data`. */
  readonly name: string;
  readonly ttl: number;
  readonly type: string;
  readonly data: string;
}

/** All but OPT. */
export function presented(bytes: Buffer, { records }: Message): readonly PresentedRecord[] {
  return records
    .filter(({ type }) => type !== TYPE.OPT)
    .flatMap(record => {
      const [owner, data] = [expandedName(bytes, record.at), expandedData(bytes, record)];
      if (owner === undefined || data === undefined) return [];
      const { section, ttl, type } = record;
      return [{ section, name: dotted(nameText(owner)), ttl, type: typeName(type), data: dataText(record, data) }];
    });
}

function dotted(name: string): string {
  return `${name}.`;
}

function dataText({ type }: RawRecord, data: Buffer): string {
  switch (type) {
    case TYPE.A:
      return data.length === 4 ? formatIPv4(data.readUInt32BE(0)) : unknownText(data);
    case TYPE.AAAA:
      return data.length === 16
        ? formatIPv6(Array.from({ length: 8 }, (_, i) => data.readUInt16BE(2 * i)))
        : unknownText(data);
    case TYPE.NS:
    case TYPE.CNAME:
    case TYPE.PTR:
    case TYPE.DNAME:
      return dotted(nameText(data));
    case TYPE_MX:
      return data.length < 3 ? unknownText(data) : `${data.readUInt16BE(0)} ${dotted(nameText(data, 2))}`;
    case TYPE.SRV:
      return data.length < 7 ? unknownText(data) : `${uint16s(data, 3).join(' ')} ${dotted(nameText(data, 6))}`;
    case TYPE.SOA:
      return soaText(data);
    case TYPE.TXT:
    case TYPE.HINFO:
      return texts(data).join(' ');
    default:
      return unknownText(data);
  }
}

function uint16s(data: Buffer, count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => data.readUInt16BE(2 * i));
}

function soaText(data: Buffer): string {
  const primary = data.indexOf(0) + 1;
  const fields = data.length - 20;
  if (primary === 0 || fields <= primary) return unknownText(data);
  const numbers = Array.from({ length: 5 }, (_, i) => data.readUInt32BE(fields + 4 * i));
  return `${dotted(nameText(data))} ${dotted(nameText(data, primary))} ${numbers.join(' ')}`;
}

function texts(data: Buffer): readonly string[] {
  const found: string[] = [];
  for (let at = 0; at < data.length; at += data[at]! + 1) {
    const text = data.toString('latin1', at + 1, at + 1 + data[at]!);
    found.push(`"${text.replaceAll(/[^ -~]|["\\]/g, char => `\\${String(char.charCodeAt(0)).padStart(3, '0')}`)}"`);
  }
  return found;
}

function unknownText(data: Buffer): string {
  return `\\# ${data.length} ${data.toString('hex')}`.trimEnd();
}
