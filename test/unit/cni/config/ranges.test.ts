import { describe, expect, test } from 'vitest';
import { parseRangeSets } from '../../../../src/cni/config/ranges.ts';
import { CniError, CODE } from '../../../../src/cni/types.ts';

const keys = (ipam: Record<string, unknown>, more: { runtimeRanges?: unknown; podCIDRs?: readonly string[] } = {}) =>
  parseRangeSets({ ipam, podCIDRs: undefined, ...more }).map(({ key }) => key);

function failure(step: () => unknown): { code: number; message: string } {
  try {
    step();
  } catch (error) {
    if (error instanceof CniError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('range sets of a configuration', () => {
  test("defaults are host-local's: gateway first, start behind the network's address, end before the broadcast address", () => {
    const [v4, v6] = parseRangeSets({
      ipam: { ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]] },
      podCIDRs: undefined,
    });
    expect(v4).toMatchObject({ key: '10.88.0.1-10.88.0.254', family: 'IPv4' });
    expect(v4?.ranges[0]).toMatchObject({ gateway: '10.88.0.1', prefixLength: 24, subnet: '10.88.0.0/24' });
    expect(v6).toMatchObject({ key: 'fd00:88::1-fd00:88::ffff:ffff:ffff:ffff', family: 'IPv6' });
    expect(v6?.ranges[0]?.gateway).toBe('fd00:88::1');
  });

  test('I05 rangeStart, rangeEnd and gateway are kept', () => {
    const [set] = parseRangeSets({
      ipam: {
        ranges: [[{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.10', rangeEnd: '10.0.0.20', gateway: '10.0.0.254' }]],
      },
      podCIDRs: undefined,
    });
    expect(set).toMatchObject({ key: '10.0.0.10-10.0.0.20', ranges: [{ gateway: '10.0.0.254' }] });
  });

  test('I05 runtime ranges come first, then the legacy form, then the sets', () => {
    expect(
      keys(
        { subnet: '10.1.0.0/24', ranges: [[{ subnet: '10.2.0.0/24' }, { subnet: '10.3.0.0/24' }]] },
        { runtimeRanges: [[{ subnet: '10.0.0.0/24' }]] },
      ),
    ).toEqual(['10.0.0.1-10.0.0.254', '10.1.0.1-10.1.0.254', '10.2.0.1-10.2.0.254,10.3.0.1-10.3.0.254']);
  });

  test('null and empty fields are as good as none', () => {
    expect(keys({ ranges: [[{ subnet: '10.0.0.0/24', rangeStart: '', rangeEnd: null }]], subnet: '' })).toEqual([
      '10.0.0.1-10.0.0.254',
    ]);
  });

  test('without ranges the pod CIDRs of the node serve, a set for each family', () => {
    expect(keys({ type: 'host-local' }, { podCIDRs: ['10.4.1.0/24', 'fd00:4::/120'] })).toEqual([
      '10.4.1.1-10.4.1.254',
      'fd00:4::1-fd00:4::ff',
    ]);
    expect(failure(() => keys({}))).toMatchObject({ code: CODE.tryAgain });
    expect(failure(() => keys({}, { podCIDRs: ['10.4.1.0'] })).message).toContain('podCIDRs[0].subnet');
  });

  test("the network's and the broadcast address are never given, even when a range names them", () => {
    expect(keys({ ranges: [[{ subnet: '10.0.0.0/29', rangeStart: '10.0.0.0', rangeEnd: '10.0.0.7' }]] })).toEqual([
      '10.0.0.1-10.0.0.6',
    ]);
  });

  test('ranges of one subnet that do not meet are fine', () => {
    const subnet = '10.0.0.0/24';
    expect(
      keys({
        ranges: [
          [
            { subnet, rangeStart: '10.0.0.30', rangeEnd: '10.0.0.40' },
            { subnet, rangeStart: '10.0.0.10', rangeEnd: '10.0.0.29' },
          ],
        ],
      }),
    ).toHaveLength(1);
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['host bits', { ranges: [[{ subnet: '10.0.0.1/24' }]] }, 'ipam.ranges[0][0].subnet'],
    ['/31', { ranges: [[{ subnet: '10.0.0.0/31' }]] }, 'ipam.ranges[0][0].subnet'],
    ['/32', { subnet: '10.0.0.0/32' }, 'ipam.subnet'],
    ['/127', { subnet: 'fd00::/127' }, 'ipam.subnet'],
    ['a bad CIDR', { ranges: [[{ subnet: '10.0.0.0/24' }, { subnet: '10.0.0/24' }]] }, 'ipam.ranges[0][1].subnet'],
    ['no subnet', { ranges: [[{}]] }, 'ipam.ranges[0][0].subnet'],
    ['a set that is no list', { ranges: [{ subnet: '10.0.0.0/24' }] }, 'ipam.ranges[0]'],
    ['sets that are no list', { ranges: 'all' }, 'ipam.ranges'],
    ['a range that is no object', { ranges: [['10.0.0.0/24']] }, 'ipam.ranges[0][0]'],
    ['an empty set', { ranges: [[]] }, 'ipam.ranges[0]'],
    ['start > end', { subnet: '10.0.0.0/24', rangeStart: '10.0.0.9', rangeEnd: '10.0.0.8' }, 'ipam.rangeStart'],
    ['only the broadcast address', { subnet: '10.0.0.0/24', rangeStart: '10.0.0.255' }, 'ipam.rangeStart'],
    ['a start outside', { subnet: '10.0.0.0/24', rangeStart: '10.0.1.1' }, 'ipam.rangeStart'],
    ['an end that is no address', { subnet: '10.0.0.0/24', rangeEnd: 'x' }, 'ipam.rangeEnd'],
    ['an end of the other family', { subnet: '10.0.0.0/24', rangeEnd: 'fd00::1' }, 'ipam.rangeEnd'],
    ['a gateway of the other family', { subnet: '10.0.0.0/24', gateway: 'fd00::1' }, 'ipam.gateway'],
    ['overlap in a set', { ranges: [[{ subnet: '10.0.0.0/16' }, { subnet: '10.0.4.0/24' }]] }, 'ipam.ranges[0][1]'],
    ['overlap between sets', { ranges: [[{ subnet: '10.0.0.0/16' }], [{ subnet: '10.0.4.0/24' }]] }, 'ipam.ranges[1]'],
    ['mixed families', { ranges: [[{ subnet: '10.0.0.0/16' }, { subnet: 'fd00::/64' }]] }, 'ipam.ranges[0][1]'],
  ])('E15 %s is refused by the name of the field', (_, ipam, field) => {
    const { code, message } = failure(() => keys(ipam));
    expect(code).toBe(CODE.badConfiguration);
    expect(message.startsWith(`${field}: `), message).toBe(true);
  });

  test('E15 no ranges and no pod CIDRs: the node may get some', () => {
    expect(failure(() => keys({}, { podCIDRs: [] }))).toMatchObject({ code: CODE.tryAgain });
  });
});
