import { expect, it } from 'vitest';
import { emptyModel } from '../../src/endpoints/model.ts';
import { LocalnetFollower } from '../../src/localnet-follower.ts';
import type { Programmed } from '../../src/sync-follower.ts';

it('packets from 127.0.0.0/8 are routed once rules for NodePorts there are in the kernel, all of them, and not before', () => {
  let allowed = 0;
  const follower = new LocalnetFollower(async () => {
    allowed += 1;
  });
  const times = { planMs: 0, applyMs: 0, queuedAtMs: 0 };
  const programmed = (hasLocalhostNodePorts: boolean, refused: readonly string[] = []): Programmed => ({
    model: emptyModel('IPv4', { name: 'node-a', zone: '' }),
    nodePortAddresses: 'all',
    hasLocalhostNodePorts,
    report: {
      ...{ cause: 'start', isFull: true, changes: 1, repaired: [], ...times },
      failures: refused.map(key => ({ key, error: new Error('refused') })),
    },
  });
  follower.pulled();
  follower.synced(programmed(false));
  follower.synced(programmed(true, ['filter/KUBE-PROXY-LOCALNET']));
  expect(allowed).toBe(0);
  follower.synced(programmed(true));
  follower.synced(programmed(true));
  expect(allowed).toBe(1);
});
