/** The ports of Services and slices, trimmed: see trim.ts. */
import { type Fields, integerOf, isPlainName, mapItems, noteProblem, protocolOf, textOf } from './fields.ts';
import type { ServicePortSpec, SlicePort } from './objects.ts';

export const MAX_PORT = 65535;

/** The Service's ports; of two with one name and protocol (two without a name, say) the first stays. */
export function portsOf(spec: Fields): readonly ServicePortSpec[] {
  const seen = new Set<string>();
  return mapItems(spec, 'ports', port => {
    const found = portOf(port);
    if (found === undefined) return undefined;
    const key = `${found.name}/${found.protocol}`;
    if (seen.has(key)) {
      noteProblem(port, 'name', found.name, `is the name of an earlier port with protocol ${found.protocol}`);
      return undefined;
    }
    seen.add(key);
    return found;
  });
}

function portOf(port: Fields): ServicePortSpec | undefined {
  const protocol = protocolOf(port);
  const number = integerOf(port, 'port', 1, MAX_PORT);
  if (number === 0) noteProblem(port, 'port', null, `is not a whole number from 1 to ${MAX_PORT}`);
  if (protocol === undefined || number === undefined || number === 0) return undefined;
  const nodePort = integerOf(port, 'nodePort', 0, MAX_PORT) ?? 0;
  const name = textOf(port, 'name');
  if (name !== '' && !isPlainName(name)) {
    noteProblem(port, 'name', name, 'is not a name that the API allows');
    return undefined;
  }
  return { name, protocol, port: number, nodePort };
}

/** undefined for a port that is left out. */
export function slicePortOf(port: Fields): SlicePort | undefined {
  const value = port.raw.port;
  // The API allows it ("all ports"); kube-proxy skips it, and a proxy could forward nothing to it.
  if (value === undefined || value === null || value === 0) return undefined;
  const protocol = protocolOf(port);
  const number = integerOf(port, 'port', 1, MAX_PORT);
  if (protocol === undefined || number === undefined) return undefined;
  return { name: textOf(port, 'name'), protocol, port: number };
}
