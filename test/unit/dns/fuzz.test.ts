/** Any bytes: an engine never throws, and says nothing, or something that can be read and isn't too large. `DNS_FUZZ=1000000` is the long form. */
import { describe, expect, it } from 'vitest';
import { readMessage } from '../../../src/dns/wire/message.ts';
import { CLIENT, DEFAULT_NAMESPACE, EngineLab, serviceChange } from './engine-lab.ts';
import { mutated, randomFrom } from './mutated-packets.ts';

const PACKETS = Number(process.env.DNS_FUZZ ?? 20_000);
const ips = Array.from({ length: 100 }, (_, i) => `10.244.9.${i} pod-${i}`).join('\n');
const CHANGES = [
  DEFAULT_NAMESPACE,
  serviceChange('web', { clusterIPs: ['10.96.0.10', 'fd00::10'], endpoints: ips }),
  serviceChange('db', { kind: 'headless', endpoints: ips }),
  serviceChange('out', { kind: 'external-name', externalName: 'db.default.svc.cluster.local' }),
];
describe(`${PACKETS} mutated packets`, () => {
  it('never throw, and get nothing, or an answer that can be read, within its limit', { timeout: 600_000 }, () => {
    const random = randomFrom(Number(process.env.DNS_FUZZ_SEED ?? 1));
    const lab = new EngineLab({ changes: CHANGES, pods: 'insecure' });
    let answered = 0;
    for (let i = 0; i < PACKETS; i += 1) {
      const message = mutated(random);
      const isTcp = random(4) === 0;
      const before = message.toString('hex');
      const answer = lab.engine.respond(message, CLIENT, isTcp);
      // Errors with their bytes: only then can they be looked into.
      const fail = (what: string) => expect.fail(`${what}: ${before}`);
      if (answer instanceof Promise) fail('a question to others, though there are none');
      if (message.toString('hex') !== before) fail('the question was changed');
      if (!(answer instanceof Buffer)) continue;
      answered += 1;
      if (answer.length > (isTcp ? 65_535 : 4096)) fail(`${answer.length} bytes`);
      if (answer.readUInt16BE(0) !== message.readUInt16BE(0)) fail('another id');
      const rcode = answer[3]! & 15;
      const isError = rcode !== 0 && rcode !== 3;
      if (isError && answer.length > message.length + 11) fail('an error larger than its question');
      // What has no question is a header alone.
      if (answer.readUInt16BE(4) === 0 ? answer.length !== 12 : readMessage(answer) === undefined) fail('unreadable');
    }
    expect(lab.faults).toEqual([]);
    // Most of them have to come as far as an answer, or nothing was tried.
    expect(answered).toBeGreaterThan(PACKETS / 3);
  });
});
