import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deferredFileName, deferredText, readDeferred } from '../../../src/cni/deferred.ts';
import type { AgentRequest } from '../../../src/cni/types.ts';

const request: AgentRequest = {
  protocol: 1,
  command: 'DEL',
  containerID: 'c1',
  ifname: 'eth0',
  netns: '',
  args: { K8S_POD_NAME: 'n' },
  config: { name: 'kp' },
};

describe('deferred DELs', () => {
  test("a file's name is the SHA-256 of the attachment, as Node has it", () => {
    const text = fc.string({ unit: 'binary', maxLength: 100 });
    fc.assert(
      fc.property(text, text, text, (network, containerID, ifname) => {
        const hash = createHash('sha256').update(`${network}/${containerID}/${ifname}`).digest('hex');
        expect(deferredFileName({ network, containerID, ifname })).toBe(`${hash}.json`);
      }),
    );
  });

  test('what is written is read again', () => {
    expect(readDeferred(deferredText(request))).toEqual(request);
  });

  test('what is none of ours is left alone', () => {
    const others = [
      { ...request, command: 'ADD' },
      { ...request, protocol: 2 },
      { ...request, config: {} },
      { ...request, args: [] },
      { ...request, netns: undefined },
    ].map(other => JSON.stringify({ version: 1, request: other }));
    for (const text of ['', '{', 'null', '{"version":1}', JSON.stringify({ version: 2, request }), ...others])
      expect(readDeferred(text)).toBeUndefined();
    expect(readDeferred(deferredText(request).slice(0, -5))).toBeUndefined();
  });
});
