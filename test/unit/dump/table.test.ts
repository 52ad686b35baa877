import { describe, expect, it } from 'vitest';
import { IPTABLES_DUMP } from '../../../src/backends/iptables/dump-format.ts';
import { endpointChain } from '../../../src/backends/iptables/names.ts';
import { kernelFamily } from '../../../src/dump/from-kernel.ts';
import { type DumpState, selectServices } from '../../../src/dump/state.ts';
import { renderDump } from '../../../src/dump/table.ts';
import { service } from '../../fakes/objects.ts';
import { CLUSTER, dumpOf, kernelOf, modelOf } from './fixtures.ts';

const plain = { isDetailed: false, hasColours: false };
const DNAT = endpointChain('default/web:http', 'tcp', '10.244.2.2:8080');
const healthy = await dumpOf(CLUSTER, kernelOf(CLUSTER));
const broken = await dumpOf(
  CLUSTER,
  kernelOf(CLUSTER).filter((object, key) => key !== DNAT && (object.kind !== 'rule' || object.chain !== 'PREROUTING')),
);

describe('the table', () => {
  it('has a line per Service port', () => {
    expect(renderDump(healthy, plain).split('\n')).toEqual([
      'SERVICE           PROTO  ADDRESSES                                       ENDPOINTS  RULES',
      'default/idle      UDP    10.96.0.11:53                                   <none>     ok',
      'default/web:http  TCP    10.96.0.10:80,*:30080,192.0.2.1:80 + 1 more...  2/3 ready  ok',
      '(shared)          -      -                                               -          ok',
      '',
    ]);
  });

  it('counts what is missing, and shows missing rules that no Service owns', async () => {
    await expect(renderDump(broken, plain)).toMatchFileSnapshot('../../golden/dump-table.txt');
  });

  it('lists endpoints when the kernel alone told', () => {
    const kernel: DumpState = {
      ...healthy,
      source: 'kernel',
      families: [kernelFamily('IPv4', new Map(kernelOf(CLUSTER)), IPTABLES_DUMP)],
    };
    expect(renderDump(kernel, plain)).toMatch(
      /^default\/web:http .* 10\.244\.1\.2:8080,10\.244\.2\.2:8080 +\d+ there$/m,
    );
  });

  it('names contested addresses and a kernel that is changing', async () => {
    const model = modelOf([service(), service({ name: 'younger', creationTimestamp: '2026-02-01T00:00:00Z' })], []);
    const text = renderDump(await dumpOf(model, kernelOf(model), true), plain);
    expect(text).toContain('also claimed by default/younger:http');
    expect(text).toContain('IPv4: rules were changing meanwhile');
  });

  it('has colours only when asked', () => {
    const introducer = String.fromCharCode(27);
    expect(renderDump(broken, plain)).not.toContain(introducer);
    const coloured = renderDump(broken, { ...plain, hasColours: true });
    expect(coloured).toContain(`${introducer}[31m1 missing`);
  });
});

describe('the detailed view', () => {
  it('shows addresses, policies, conditions and each rule with its mark', async () => {
    const { state } = selectServices(broken, ['web']);
    const text = renderDump(state, { isDetailed: true, hasColours: false });
    await expect(text).toMatchFileSnapshot('../../golden/dump-detail.txt');
  });
});
