import { expect, test } from 'vitest';
import { parseConfiguration } from '../../../src/config/load.ts';
import { configzRoute } from '../../../src/http/configz.ts';

const HEADER = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';

test('the configuration in effect, asked for each time, under the names of its API groups', async () => {
  let { fields } = parseConfiguration(`${HEADER}iptables: { syncPeriod: 90s }\n`, 'a');
  const route = configzRoute(() => fields);
  const ask = async () => {
    const { status, contentType, body } = await route('');
    expect([status, contentType]).toEqual([200, 'application/json']);
    return JSON.parse(body) as Record<string, object>;
  };
  expect(await ask()).toMatchObject({
    'kubeproxy.config.k8s.io': {
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode: '',
      healthzBindAddress: '0.0.0.0:10256',
      iptables: { masqueradeBit: 14, syncPeriod: '1m30s' },
    },
    'kproxy-ts.dev': { apiVersion: 'kproxy-ts.dev/v1alpha1', iptables: { variant: 'auto' } },
  });
  fields = parseConfiguration(HEADER, 'a').fields;
  expect(await ask()).toMatchObject({ 'kubeproxy.config.k8s.io': { iptables: { syncPeriod: '30s' } } });
});
