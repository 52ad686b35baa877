import { describe, expect, test } from 'vitest';
import { type Change, Ledger, netChange } from '../../../../src/cni/rules/ledger.ts';
import { pod, tcp } from './pods.ts';

const texts = ({ added, deleted }: Change) => ({
  added: added.map(({ what }) => what),
  deleted: deleted.map(({ what }) => what),
});

describe('the ledger', () => {
  test('a pod that is told again changes nothing, one that changes only what is other', () => {
    const ledger = new Ledger();
    ledger.set('a', pod(2));
    expect(texts(ledger.set('a', pod(2)))).toEqual({ added: [], deleted: [] });
    expect(texts(ledger.set('a', pod(2, { hostPorts: [tcp()] })))).toEqual({
      added: ['hostPort 8080/tcp to 10.88.0.2', 'the network 10.88.0.0/24 of 10.88.0.2'],
      deleted: [],
    });
    expect(texts(ledger.set('a', pod(2, { hostPorts: [tcp({ containerPort: 81 })] })))).toEqual({
      added: ['hostPort 8080/tcp to 10.88.0.2'],
      deleted: ['hostPort 8080/tcp to 10.88.0.2'],
    });
    expect(texts(ledger.set('a', undefined)).deleted).toHaveLength(3);
    expect(texts(ledger.set('a', undefined))).toEqual({ added: [], deleted: [] });
    expect([...ledger.families()]).toEqual([]);
  });

  test('what two pods have in common stays until both are gone', () => {
    const ledger = new Ledger();
    ledger.set('a', pod(2));
    expect(ledger.set('b', pod(2)).added).toEqual([]);
    expect(ledger.set('a', undefined).deleted).toEqual([]);
    expect(ledger.set('b', undefined).deleted).toHaveLength(1);
  });

  test('P02 a hostPort that leads elsewhere is taken, by whom is said, and nothing has changed', () => {
    const ledger = new Ledger();
    ledger.set('a', pod(2, { hostPorts: [tcp()] }));
    expect(() => ledger.set('b', pod(3, { hostPorts: [tcp()] }))).toThrow(
      'hostPort 8080/tcp to 10.88.0.3 is taken by a',
    );
    expect(ledger.get('b')).toBeUndefined();
    expect(ledger.setsOf('IPv4').get('masqueraded-pods')).toHaveLength(1);
    ledger.set('b', pod(3, { hostPorts: [tcp({ protocol: 'udp' }), tcp({ hostIP: '192.0.2.1' })] }));
  });

  test('ranges change with the first and the last pod of a network; those of the configuration stay', () => {
    const ledger = new Ledger(['10.0.0.0/8']);
    const count = (set: string) => ledger.rangesOf('IPv4').get(set)!.length;
    const versions = [ledger.rangesVersion];
    const note = () => versions.push(ledger.rangesVersion);
    ledger.set('a', pod(2));
    note();
    ledger.set('b', pod(3));
    note();
    ledger.set('a', undefined);
    note();
    expect([ledger.networksOf('IPv4').podNetworks.length, count('unmasqueraded-ranges')]).toEqual([1, 2]);
    ledger.set('b', undefined);
    note();
    expect(versions.map((version, i) => version === versions[i - 1])).toEqual([false, false, true, true, false]);
    expect([ledger.networksOf('IPv4').podNetworks.length, count('unmasqueraded-ranges')]).toEqual([0, 2]);
  });

  test('A19 networks that are not of pods alone change no range; their pods know them by themselves', () => {
    const ledger = new Ledger();
    const lan = { addresses: ['192.0.2.100'], networks: ['192.0.2.0/24'], areOfPods: false };
    ledger.set('a', pod(2));
    const before = ledger.rangesOf('IPv4');
    const { added } = ledger.set('b', pod(3, { ...lan, masquerade: false, hostPorts: [tcp()] }));
    expect(texts({ added, deleted: [] }).added).toEqual([
      'hostPort 8080/tcp to 192.0.2.100',
      'the network 192.0.2.0/24 of 192.0.2.100',
    ]);
    expect(ledger.rangesOf('IPv4')).toEqual(before);
    expect(texts(ledger.set('b', pod(3, lan))).added).toEqual(['the masquerade of 192.0.2.100']);
    expect(ledger.setsOf('IPv4').get('own-networks')).toMatchObject([
      { key: Buffer.of(192, 0, 2, 100, 192, 0, 2, 0), keyEnd: Buffer.of(192, 0, 2, 100, 192, 0, 2, 255) },
    ]);
  });

  test('P09 a bridge needs route_localnet while a hostPort behind it is at 127.0.0.1', () => {
    const ledger = new Ledger();
    const bridges = () => [...ledger.localnetBridges()];
    ledger.set('a', pod(2, { hostPorts: [tcp({ hostIP: '192.0.2.1' })] }));
    ledger.set('b', pod(3, { addresses: ['fd00::3'], hostPorts: [tcp()] }));
    expect(bridges()).toEqual([]);
    ledger.set('a', pod(2, { hostPorts: [tcp()] }));
    ledger.set('c', pod(4, { hostPorts: [tcp({ hostIP: '127.0.0.1', hostPort: 81 })] }));
    expect(bridges()).toEqual(['cni0']);
    ledger.set('a', undefined);
    expect(bridges()).toEqual(['cni0']);
    ledger.set('c', undefined);
    expect(bridges()).toEqual([]);
  });

  test('what comes and goes in the same transaction is not told of; what moves is replaced', () => {
    const ledger = new Ledger();
    const first = [ledger.set('a', pod(2, { hostPorts: [tcp()] })), ledger.set('a', undefined)];
    expect(texts(netChange(first))).toEqual({ added: [], deleted: [] });
    ledger.set('a', pod(2, { masquerade: false, hostPorts: [tcp()] }));
    const moved = [ledger.set('a', undefined), ledger.set('b', pod(3, { masquerade: false, hostPorts: [tcp()] }))];
    expect(texts(netChange(moved))).toEqual({
      added: ['hostPort 8080/tcp to 10.88.0.3', 'the network 10.88.0.0/24 of 10.88.0.3'],
      deleted: ['hostPort 8080/tcp to 10.88.0.2', 'the network 10.88.0.0/24 of 10.88.0.2'],
    });
    const same = [ledger.set('b', undefined), ledger.set('c', pod(3, { masquerade: false, hostPorts: [tcp()] }))];
    expect(texts(netChange(same))).toEqual({ added: [], deleted: [] });
  });
});
