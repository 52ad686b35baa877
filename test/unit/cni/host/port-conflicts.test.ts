import { describe, expect, test } from 'vitest';
import { shadowed } from '../../../../src/cni/agent/listening.ts';
import type { HeldPorts } from '../../../../src/cni/agent/messages.ts';
import { PortConflicts } from '../../../../src/cni/host/port-conflicts.ts';
import type { HostPort } from '../../../../src/cni/types.ts';
import type { Happening } from '../../../../src/events/event.ts';
import { Store } from '../../../../src/watch/store.ts';
import { service } from '../../../fakes/objects.ts';
import { tcp } from '../rules/pods.ts';

const pod = { namespace: 'default', name: 'web-0', uid: 'u7' };
const held = (hostPorts: readonly HostPort[], more: Partial<HeldPorts> = {}): HeldPorts => {
  return { key: 'kp/c1/eth0', pod, hostPorts, listeners: [], ...more };
};
const nodePort = (port: number, fields: object = {}) =>
  service({ type: 'NodePort', ports: [{ name: '', protocol: 'TCP', port: 80, nodePort: port }], ...fields });

function start() {
  const store = new Store();
  const events: Happening[] = [];
  const warnings: string[] = [];
  const conflicts = new PortConflicts({
    snapshot: () => store.snapshot,
    record: happening => events.push(happening),
    log: { warn: (_: unknown, message = '') => void warnings.push(message) },
  });
  store.onDirty(dirty => conflicts.note(dirty));
  return { store, conflicts, events, warnings };
}

/** The store tells of changes at the end of a turn. */
const settled = () => new Promise(resolve => setImmediate(resolve));

describe('hostPorts that others have too', () => {
  test('P10 a pod is told of the Service that gets its packets, whichever comes first, once', async () => {
    const { store, conflicts, events, warnings } = start();
    store.upsert('Service', nodePort(30_080));
    conflicts.hold(held([tcp({ hostPort: 30_080 }), tcp({ hostPort: 30_081 })]));
    const note = "hostPort 30080/tcp doesn't lead to the pod: Service default/web has it, as node port 30080";
    const regarding = { kind: 'Pod', ...pod };
    expect(events).toEqual([{ regarding, type: 'Warning', reason: 'HostPortTaken', action: 'MapHostPort', note }]);
    store.upsert('Service', nodePort(30_080, { uid: 'changed' }));
    store.upsert('Service', nodePort(30_081, { name: 'other' }));
    await settled();
    expect(warnings).toEqual([note, note.replaceAll('30080', '30081').replace('web', 'other')]);
    conflicts.hold(held([]));
    store.upsert('Service', nodePort(30_080, { name: 'third' }));
    await settled();
    expect(events).toHaveLength(2);
  });

  test('P10 another protocol, and another address, are other ports', () => {
    const { store, conflicts, events } = start();
    store.upsert('Service', service({ externalIPs: ['192.0.2.7'] }));
    store.upsert('Service', nodePort(30_080, { name: 'np' }));
    conflicts.hold(held([tcp({ hostPort: 30_080, protocol: 'udp' }), tcp({ hostPort: 80, hostIP: '192.0.2.8' })]));
    expect(events).toEqual([]);
    conflicts.hold(held([tcp({ hostPort: 80, hostIP: '192.0.2.7' })], { key: 'kp/c2/eth0' }));
    expect(events.map(({ note }) => note)).toEqual([
      "hostPort 192.0.2.7:80/tcp doesn't lead to the pod: Service default/web has it, as external IP 192.0.2.7, port 80",
    ]);
  });

  test('P10 of a pod without a name only the log speaks', () => {
    const { conflicts, events, warnings } = start();
    const listeners = [{ text: '80/tcp', place: '0.0.0.0:80' }];
    conflicts.hold(held([tcp({ hostPort: 80 })], { pod: { namespace: '', name: '', uid: '' }, listeners }));
    expect(events).toEqual([]);
    expect(warnings).toEqual([
      'hostPort 80/tcp leads to the pod, and no longer to the program of the node that listens at 0.0.0.0:80',
    ]);
  });

  test('P10 a listener is in the way at its own address, or at all', () => {
    const at = (ip: string, port = 8080, protocol: 'tcp' | 'udp' = 'tcp') => ({ ip, port, protocol });
    const places = (hostPort: HostPort, ...listeners: ReturnType<typeof at>[]) =>
      shadowed([hostPort], listeners).map(({ place }) => place);
    const all = [at('192.0.2.1'), at('::'), at('192.0.2.2', 8081), at('192.0.2.2', 8080, 'udp'), at('127.0.0.1')];
    expect(places(tcp(), ...all)).toEqual(['192.0.2.1:8080', '[::]:8080', '127.0.0.1:8080']);
    expect(places(tcp({ hostIP: '192.0.2.1' }), ...all)).toEqual(['192.0.2.1:8080', '[::]:8080']);
    const families = [at('0.0.0.0'), at('2001:db8::1'), at('::')];
    expect(places(tcp({ hostIP: '0.0.0.0' }), ...families)).toEqual(['0.0.0.0:8080', '[::]:8080']);
    expect(places(tcp({ hostIP: '::' }), ...families)).toEqual(['[2001:db8::1]:8080', '[::]:8080']);
  });
});
