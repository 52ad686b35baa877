/** Names of the bench's cluster, and a headless Service in it. */
import { setTimeout as delay } from 'node:timers/promises';
import { ask } from '../../test/conformance/runner/dns/ask.ts';
import { keyOf } from '../spine/cluster.ts';

const ZONE = 'svc.cluster.local';
const HEADLESS = { namespace: 'bench-0', name: 'headless' };

export const headlessName = `${HEADLESS.name}.${HEADLESS.namespace}.${ZONE}`;

export function serviceName(i: number): string {
  const { namespace, name } = keyOf(i);
  return `${name}.${namespace}.${ZONE}`;
}

/** A headless Service of so many endpoints. */
export async function putHeadless(url: string, endpoints: number): Promise<void> {
  const { namespace, name } = HEADLESS;
  const ports = [{ name: 'http', port: 80, protocol: 'TCP' }];
  await post(`${url}/api/v1/namespaces/${namespace}/services`, {
    metadata: { name },
    spec: { clusterIP: 'None', ports },
  });
  await post(`${url}/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`, {
    metadata: { name, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    ports,
    endpoints: Array.from({ length: endpoints }, (_, i) => ({
      addresses: [`10.63.0.${i + 1}`],
      conditions: { ready: true },
    })),
  });
}

async function post(url: string, object: object): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(object) });
  if (!response.ok) throw new Error(`POST ${url}: ${response.status} ${await response.text()}`);
}

const PATIENCE_MS = 30_000;

/** Asks until the name has an address; before it listens, questions are lost. */
export async function untilAnswered(qname: string, port: number): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; ) {
    const reply = await ask({ qname, qtype: 'A', rcode: '' }, 'tcp', { address: '127.0.0.1', port }).catch(
      () => undefined,
    );
    if ((reply?.answers.length ?? 0) > 0) return;
    await delay(50);
  }
  throw new Error(`${qname} isn't answered after ${PATIENCE_MS} ms`);
}
