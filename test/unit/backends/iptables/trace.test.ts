import { describe, expect, it } from 'vitest';
import { type OpeningPacket, rulesetOf, trace } from '../../../../src/backends/iptables/trace.ts';
import { nodeWith, readRule } from '../../../../src/backends/iptables/trace-rule.ts';

const NODE = nodeWith(['192.0.2.11', 'fd00:77::11']);

/** A table as iptables-save prints it, its chains declared by their rules and by `empty`. */
function table(name: string, rules: readonly string[], empty: readonly string[] = []): string {
  const chains = new Set([...rules.map(rule => rule.split(' ', 1)[0]), ...empty]);
  const lines = rules.map(rule => `-A ${rule}`);
  return [`*${name}`, ...[...chains].map(chain => `:${chain} - [0:0]`), ...lines, 'COMMIT', ''].join('\n');
}

const packet = (fields: Partial<OpeningPacket> = {}): OpeningPacket => ({
  source: '10.244.1.5',
  destination: '10.96.0.10',
  port: 80,
  protocol: 'TCP',
  inInterface: 'pods0',
  ...fields,
});

/** What becomes of the packet, a word each: `DROP`, `10.0.0.1:80 masqueraded`, `untouched accepted`. */
function ends(saved: string, fields: Partial<OpeningPacket> = {}): string[] {
  const found = trace(rulesetOf(saved), packet(fields), NODE).map(
    ({ verdict, destination, port, isTranslated, isMasqueraded, isAccepted }) => {
      if (verdict !== 'delivered') return verdict;
      const where = isTranslated ? `${destination}:${port}` : 'untouched';
      return `${where}${isMasqueraded ? ' masqueraded' : ''}${isAccepted ? ' accepted' : ''}`;
    },
  );
  return [...new Set(found)].toSorted();
}

/** Whether one rule of PREROUTING matches: a matching packet is sent elsewhere. */
function matches(rule: string, fields: Partial<OpeningPacket> = {}): boolean | 'maybe' {
  const found = ends(table('nat', [`PREROUTING ${rule} -j DNAT --to-destination 10.9.9.9:9`]), fields);
  return found.length === 2 ? 'maybe' : found[0] === '10.9.9.9:9';
}

describe('what a rule matches', () => {
  it.each([
    ['-s 10.244.0.0/16', true],
    ['-s 10.245.0.0/16', false],
    ['! -s 10.244.0.0/16', false],
    ['! -s 10.245.0.0/16', true],
    ['-d 10.96.0.10/32', true],
    ['-d 10.96.0.10', true],
    ['-d 10.96.0.11/32', false],
    ['-i pods0', true],
    ['-i pod+', true],
    ['-i eth0', false],
    ['! -i eth+', true],
    ['-p tcp -m tcp --dport 80', true],
    ['-p tcp -m tcp --dport 79:81', true],
    ['-p tcp -m tcp --dport 81', false],
    ['-p udp -m udp --dport 80', false],
    ['-p tcp -m multiport --dports 22,80', true],
    ['-m comment --comment "a -d 1.2.3.4 \\"word\\" -j DROP"', true],
    ['-m addrtype --dst-type LOCAL', false],
    ['-m addrtype ! --dst-type LOCAL', true],
    ['-m addrtype --src-type LOCAL', false],
    ['-m mark --mark 0x4000/0x4000', false],
    ['-m mark ! --mark 0x4000/0x4000', true],
    ['-m conntrack --ctstate NEW', true],
    ['-m conntrack --ctstate RELATED,ESTABLISHED', false],
    ['-m conntrack ! --ctstate RELATED,ESTABLISHED', true],
    ['-m conntrack --ctstate INVALID', false],
    ['-m conntrack --ctorigdst 10.96.0.10', true],
    ['-m conntrack --ctorigdst 10.96.0.11 --ctorigdstport 80', false],
    ['-m conntrack --ctdir REPLY', false],
    ['-m statistic --mode random --probability 0.50000000000', 'maybe'],
    ['-m statistic --mode random --probability 1.00000000000', true],
    ['-p udp -m statistic --mode random --probability 0.50000000000', false],
    ['-m recent --rcheck --seconds 10 --reap --name X --mask 255.255.255.255 --rsource', 'maybe'],
    ['-m recent --set --name X --mask 255.255.255.255 --rsource', true],
    ['-m nfacct --nfacct-name counted', true],
  ])('%s', (rule, expected) => {
    expect(matches(rule)).toBe(expected);
  });

  it('the node has its own addresses and loopback', () => {
    const rule = '-m addrtype --dst-type LOCAL';
    expect(matches(rule, { destination: '192.0.2.11' })).toBe(true);
    expect(matches(rule, { destination: '127.0.0.1' })).toBe(true);
    expect(matches(rule, { destination: '192.0.2.12' })).toBe(false);
  });

  it('IPv6', () => {
    const fields = { source: 'fd00:244::5', destination: 'fd00:96::10' };
    expect(matches('-s fd00:244::/64 -d fd00:96::10/128', fields)).toBe(true);
    expect(matches('-d fd00:96::11/128', fields)).toBe(false);
    const saved = table('nat', ['PREROUTING -j DNAT --to-destination [fd00:244::9]:8080']);
    expect(ends(saved, fields)).toEqual(['fd00:244::9:8080']);
  });
});

describe('a rule that cannot be traced is an error that names it', () => {
  it.each([
    ['-m owner --uid-owner 0 -j ACCEPT', '-m owner'],
    ['-m tcp --sport 5 -j ACCEPT', '--sport 5'],
    ['-m addrtype --dst-type BROADCAST -j ACCEPT', '--dst-type BROADCAST'],
    ['-m conntrack --ctstate STRANGE -j ACCEPT', '--ctstate STRANGE'],
    ['-m statistic --mode nth --every 2 -j ACCEPT', '--mode nth'],
    ['-d here -j ACCEPT', '-d here'],
    ['-j DNAT --to-destination nowhere', 'the target'],
    ['-j REDIRECT --to-ports 80', 'the target'],
    ['-j LOG --log-prefix x', 'the target'],
  ])('%s', (rule, named) => {
    expect(() => readRule(rule)).toThrow(`cannot trace ${named}`);
    expect(() => readRule(rule)).toThrow(rule);
  });

  it('a jump to nowhere, and one that leads back', () => {
    expect(() => ends(table('nat', ['PREROUTING -j GONE']))).toThrow('no chain nat/GONE');
    expect(() => ends(table('nat', ['PREROUTING -j A', 'A -j A']))).toThrow('lead back');
  });
});

describe('the way through the tables', () => {
  const service = table('nat', [
    'PREROUTING -j SERVICES',
    'OUTPUT -j SERVICES',
    'POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    'POSTROUTING -j MASQUERADE --random-fully',
    'SERVICES -d 10.96.0.10/32 -j SVC',
    'SVC ! -s 10.244.0.0/16 -j MARK --set-xmark 0x4000/0x4000',
    'SVC -m statistic --mode random --probability 0.33333333349 -j SEP1',
    'SVC -m statistic --mode random --probability 0.50000000000 -j SEP2',
    'SVC -j SEP3',
    ...[1, 2, 3].flatMap(n => [
      `SEP${n} -s 10.244.1.${n}/32 -j MARK --set-xmark 0x4000/0x4000`,
      `SEP${n} -p tcp -j DNAT --to-destination 10.244.1.${n}:8080`,
    ]),
  ]);

  it('takes every branch of chance', () => {
    expect(ends(service)).toEqual(['10.244.1.1:8080', '10.244.1.2:8080', '10.244.1.3:8080']);
  });

  it('masquerades who is marked, and only on the way to itself', () => {
    const all = [1, 2, 3].map(n => `10.244.1.${n}:8080 masqueraded`);
    expect(ends(service, { source: '203.0.113.5', inInterface: 'eth0' })).toEqual(all);
    expect(ends(service, { source: '192.0.2.11', inInterface: '' })).toEqual(all);
    expect(ends(service, { source: '10.244.1.2' })).toEqual([
      '10.244.1.1:8080',
      '10.244.1.2:8080 masqueraded',
      '10.244.1.3:8080',
    ]);
  });

  it('leaves alone what no rule is about', () => {
    expect(ends(service, { destination: '10.96.0.11' })).toEqual(['untouched']);
    expect(ends('')).toEqual(['untouched']);
  });

  it('asks FORWARD about what passes, INPUT about what is for the node, OUTPUT and INPUT about what it sends itself', () => {
    const verdicts = table('filter', [
      'FORWARD -p tcp -j DROP',
      'INPUT -p tcp -j REJECT',
      'OUTPUT -d 10.96.0.10/32 -j DROP',
    ]);
    expect(ends(verdicts)).toEqual(['DROP']);
    expect(ends(verdicts, { destination: '192.0.2.11' })).toEqual(['REJECT']);
    expect(ends(verdicts, { source: '192.0.2.11', inInterface: '' })).toEqual(['DROP']);
    expect(ends(verdicts, { source: '192.0.2.11', inInterface: '', destination: '192.0.2.11' })).toEqual(['REJECT']);
  });

  it('filter sees the destination that nat chose, and knows the first one', () => {
    const drop = (rule: string) => service + table('filter', [`FORWARD ${rule} -j DROP`]);
    expect(ends(drop('-d 10.244.1.1/32'))).toEqual(['10.244.1.2:8080', '10.244.1.3:8080', 'DROP']);
    expect(ends(drop('-d 10.96.0.10/32'))).toHaveLength(3);
    expect(ends(drop('-m conntrack --ctorigdst 10.96.0.10 --ctorigdstport 80'))).toEqual(['DROP']);
    expect(ends(drop('-m conntrack --ctstate DNAT'))).toEqual(['DROP']);
  });

  it('tells an explicit ACCEPT from a policy', () => {
    const accept = table('filter', ['INPUT -p tcp -m tcp --dport 30000 -j ACCEPT']);
    expect(ends(accept, { destination: '192.0.2.11', port: 30000 })).toEqual(['untouched accepted']);
    expect(ends(accept, { destination: '192.0.2.11', port: 30001 })).toEqual(['untouched']);
  });

  it('RETURN goes back to the chain before; a chain that falls through too', () => {
    const back = (rule: string) =>
      table('filter', ['FORWARD -j A', 'FORWARD -j REJECT', `A ${rule}`, 'A -s 10.244.1.5/32 -j ACCEPT', 'A -j DROP']);
    expect(ends(back('-j RETURN'))).toEqual(['REJECT']);
    expect(ends(back('-p udp -j RETURN'))).toEqual(['untouched accepted']);
    const maybe = '-m statistic --mode random --probability 0.5 -j RETURN';
    expect(ends(back(maybe))).toEqual(['REJECT', 'untouched accepted']);
  });

  it('names the rules that matched', () => {
    const [end] = trace(
      rulesetOf(table('filter', ['FORWARD -p udp -j DROP', 'FORWARD -p tcp -j DROP'])),
      packet(),
      NODE,
    );
    expect(end?.path).toEqual(['filter/FORWARD -p tcp -j DROP']);
  });

  it('a mark is set by bits', () => {
    const marked = (target: string, rule: string) =>
      ends(
        table('filter', [
          'FORWARD -j MARK --set-xmark 0x8000/0x8000',
          `FORWARD -j ${target}`,
          `FORWARD ${rule} -j DROP`,
        ]),
      );
    expect(marked('MARK --set-xmark 0x4000/0x4000', '-m mark --mark 0xc000/0xc000')).toEqual(['DROP']);
    expect(marked('MARK --set-xmark 0x8000/0x0', '-m mark --mark 0x0/0x8000')).toEqual(['DROP']);
    expect(marked('MARK --or-mark 0x1', '-m mark --mark 0x8001')).toEqual(['DROP']);
  });
});
