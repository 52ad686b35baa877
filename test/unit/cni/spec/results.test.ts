import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { inexpressible, resultOf } from '../../../../src/cni/spec/print-result.ts';
import { readResult } from '../../../../src/cni/spec/read-result.ts';
import { isAtLeast, type SpecVersion, SUPPORTED_VERSIONS } from '../../../../src/cni/spec/versions.ts';
import { CniError, type CniIP, type CniResult, type CniRoute, CODE } from '../../../../src/cni/types.ts';
import { formatIPv4, formatIPv6 } from '../../../../src/net/ip.ts';
import { resultProblems } from '../../../fakes/cni-results.ts';

const v4 = fc.nat(0xffff_ffff).map(bits => formatIPv4(bits >>> 0));
const v6 = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 }).map(formatIPv6);
const cidr = fc.oneof(
  fc.tuple(v4, fc.nat(32)).map(([ip, bits]) => `${ip}/${bits}`),
  fc.tuple(v6, fc.nat(128)).map(([ip, bits]) => `${ip}/${bits}`),
);
const address = fc.oneof(v4, v6);
const word = fc.stringMatching(/^[a-z0-9.-]{1,12}$/);
const number = fc.nat(0xffff_ffff);
const mac = fc.constantFrom('02:00:00:00:00:01', 'fe:ff:00:00:00:02');

/** With any of these fields, and with those that are needed. */
const record = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }, requiredKeys: (keyof T)[]) =>
  fc.record(fields, { requiredKeys: requiredKeys as never }) as fc.Arbitrary<Partial<T>>;

const some = <T>(entry: fc.Arbitrary<T>) => fc.array(entry, { minLength: 1, maxLength: 4 });
const fourth = record({ name: word, mac, mtu: number, sandbox: word, socketPath: word, pciID: word }, ['name']);
const route = record(
  { dst: cidr, gw: address, mtu: number, advmss: number, priority: number, table: number, scope: fc.nat(255) },
  ['dst'],
);
const dns = fc
  .record({ nameservers: some(address), domain: word, search: some(word), options: some(word) }, { requiredKeys: [] })
  .filter(value => Object.keys(value).length > 0);

/** Results of 1.1.0 without fields that say nothing. */
const results = record(
  {
    interfaces: some(fourth),
    ips: some(record({ address: cidr, gateway: address, interface: fc.constant(0) }, ['address'])),
    routes: some(route),
    dns,
  },
  [],
).map(result => {
  const { ips, ...rest } = result as CniResult;
  if (ips === undefined || rest.interfaces !== undefined) return result as CniResult;
  return { ...rest, ips: ips.map(({ interface: _, ...ip }) => ip) } as CniResult;
});

const digit = (text: string) => (text.includes(':') ? 6 : 4);
const bare = ({ dst, gw }: CniRoute) => ({ dst, ...(gw === undefined ? {} : { gw }) });

/** What the version has a place for, written down apart from the code that prints. */
function sayable(result: CniResult, version: SpecVersion): CniResult {
  if (isAtLeast(version, '1.1.0')) return result;
  const { interfaces, ips = [], routes, dns: names } = result;
  const ofDns = names === undefined ? {} : { dns: names };
  if (isAtLeast(version, '0.3.0'))
    return {
      ...(interfaces === undefined
        ? {}
        : { interfaces: interfaces.map(({ mtu: _, socketPath: __, pciID: ___, ...entry }) => entry) }),
      ...(ips.length === 0 ? {} : { ips }),
      ...(routes === undefined ? {} : { routes: routes.map(bare) }),
      ...ofDns,
    };
  const sorted: CniIP[] = [...ips].sort((a, b) => digit(a.address) - digit(b.address));
  const reached = sorted.flatMap(ip => (routes ?? []).filter(({ dst }) => digit(dst) === digit(ip.address)).map(bare));
  return {
    ips: sorted.map(({ interface: _, ...ip }) => ip),
    ...(reached.length === 0 ? {} : { routes: reached }),
    ...ofDns,
  };
}

describe('results of every version', () => {
  test.each(SUPPORTED_VERSIONS)('%s: printed as the specification has it, and read again without loss', version => {
    fc.assert(
      fc.property(results, result => {
        fc.pre(inexpressible(result, version) === undefined);
        const printed: unknown = JSON.parse(JSON.stringify(resultOf(result, version)));
        expect(resultProblems(printed, version)).toEqual([]);
        expect(readResult(printed, version, 'result')).toEqual(sayable(result, version));
      }),
    );
  });

  test('what 0.2.0 has no place for', () => {
    const refused = (ips: CniIP[]) => inexpressible({ ips }, '0.2.0')?.code;
    expect(refused([])).toBe(CODE.incompatibleVersion);
    expect(refused([{ address: '10.0.0.1/8' }, { address: '10.0.0.2/8' }])).toBe(CODE.incompatibleVersion);
    expect(refused([{ address: '10.0.0.1/8' }, { address: 'fd00::1/64' }])).toBeUndefined();
    expect(() => resultOf({}, '0.1.0')).toThrow(CniError);
  });

  test('R02 R03 versions of addresses, and empty dns', () => {
    const result = { ips: [{ address: 'fd00::2/64' }], dns: { nameservers: [] } };
    expect(resultOf(result, '0.3.1')).toEqual({
      cniVersion: '0.3.1',
      ips: [{ version: '6', address: 'fd00::2/64' }],
      dns: {},
    });
    expect(resultOf(result, '1.0.0')).toEqual({ cniVersion: '1.0.0', ips: [{ address: 'fd00::2/64' }] });
  });

  test('no input makes the reader fail but with code 6', () => {
    const near = fc.record(
      { interfaces: fc.anything(), ips: fc.anything(), routes: fc.anything(), dns: fc.anything(), ip4: fc.anything() },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), near), fc.constantFrom(...SUPPORTED_VERSIONS), (value, version) => {
        try {
          readResult(value, version, 'prevResult');
        } catch (error) {
          expect(error).toMatchObject({ name: 'CniError', code: CODE.undecodable });
        }
      }),
    );
  });

  test('an address of an interface that the result does not have', () => {
    const broken = { interfaces: [{ name: 'eth0' }], ips: [{ address: '10.0.0.1/8', interface: 1 }] };
    expect(() => readResult(broken, '1.1.0', 'prevResult')).toThrow('prevResult.ips[0].interface');
  });
});

describe('the check that other suites use', () => {
  const fine = {
    cniVersion: '0.4.0',
    interfaces: [{ name: 'eth0' }],
    ips: [{ version: '4', address: '10.0.0.1/8' }],
    dns: {},
  };

  test.each([
    ['another version', { ...fine, cniVersion: '1.0.0' }],
    ['a field of a later version', { ...fine, interfaces: [{ name: 'eth0', mtu: 1500 }] }],
    ['no dns', { ...fine, dns: undefined }],
    ['no version of an address', { ...fine, ips: [{ address: '10.0.0.1/8' }] }],
    ['another version of an address', { ...fine, ips: [{ version: '6', address: '10.0.0.1/8' }] }],
    ['no prefix length', { ...fine, ips: [{ version: '4', address: '10.0.0.1' }] }],
    ['no such interface', { ...fine, ips: [{ version: '4', address: '10.0.0.1/8', interface: 1 }] }],
    ['an empty list', { ...fine, routes: [] }],
    ['a field that nobody knows', { ...fine, code: 1 }],
    ['no object', 7],
  ])('0.4.0 with %s', (_, result) => {
    expect(resultProblems(fine, '0.4.0')).toEqual([]);
    expect(resultProblems(result, '0.4.0')).toHaveLength(1);
  });

  test('other versions', () => {
    expect(resultProblems({ cniVersion: '0.2.0', dns: {} }, '0.2.0')).toEqual(['result: neither ip4 nor ip6']);
    expect(resultProblems({ cniVersion: '0.2.0', ip4: { ip: 'fd00::1/64' }, dns: {} }, '0.2.0')).toHaveLength(1);
    expect(resultProblems({ cniVersion: '1.0.0', dns: {} }, '1.0.0')).toEqual(['result.dns: says nothing']);
    expect(resultProblems({ cniVersion: '1.0.0', routes: [{ dst: '::/0', mtu: 1 }] }, '1.0.0')).toHaveLength(1);
    expect(resultProblems({ cniVersion: '1.1.0', routes: [{ dst: '::/0', mtu: 1 }] }, '1.1.0')).toEqual([]);
    expect(resultProblems({ cniVersion: '2.0.0' }, '2.0.0')).toHaveLength(1);
  });
});
