import { decode } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RCODE, TYPE } from '../../../../src/dns/records.ts';
import { encodedAnswer, finish, Reply } from '../../../../src/dns/reply.ts';
import { wireName } from '../../../../src/dns/wire/names.ts';
import { negative, negativeSoa } from '../../../../src/dns/wire/negative.ts';
import { readQuery } from '../../../../src/dns/wire/query.ts';
import { asking } from '../engine-lab.ts';

const TIMES = { refresh: 7200, retry: 1800, expire: 86_400, minimum: 5 };
const label = fc.stringMatching(/^[a-z0-9]{1,12}$/);
const zone = fc.constantFrom('cluster.local', 'x', '10.in-addr.arpa', 'a.very.long.zone.of.many.labels');
const edns = fc.constantFrom(undefined, { udpSize: 512 }, { udpSize: 4096, do: true });

describe('answers of nothing', () => {
  it('are what the encoder makes of SOA, byte by byte', () => {
    fc.assert(
      fc.property(
        zone,
        fc.array(label, { maxLength: 5 }),
        edns,
        fc.constantFrom(RCODE.NXDOMAIN, RCODE.NOERROR),
        (name, labels, opt, rcode) => {
          const asked = [...labels, name].join('.');
          const message = asking(asked.toUpperCase(), 'A', { edns: opt });
          const query = readQuery(message)!;
          const soa = negativeSoa({ zone: name, primary: 'ns.dns', mailbox: 'hostmaster', ttl: 3, ...TIMES });
          const fast = negative(message, query, soa, { rcode, serial: 4_000_000_000 });
          const record = {
            name,
            ttl: 3,
            type: TYPE.SOA,
            primary: `ns.dns.${name}`,
            mailbox: `hostmaster.${name}`,
            serial: 0,
            ...TIMES,
          };
          const answer = { rcode, answers: [], authority: [record], additional: [] };
          const reply = new Reply(encodedAnswer(wireName(asked), { type: TYPE.A, zone: name }, answer), 0);
          expect(fast).toEqual(finish(message, query, reply, { limit: 512, serial: 4_000_000_000 }));
          expect(decode(fast).authorities).toMatchObject([
            { name: name.toUpperCase(), data: { serial: 4_000_000_000 } },
          ]);
          expect(fast.length).toBeLessThanOrEqual(512);
        },
      ),
    );
  });
});
