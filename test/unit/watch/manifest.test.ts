import { describe, expect, it } from 'vitest';
import { ManifestError, parseManifest } from '../../../src/watch/manifest.ts';

const keys = (file: string, text: string) =>
  parseManifest(file, text).objects.map(({ kind, trimmed }) => `${kind} ${trimmed.key}`);
const problems = (file: string, text: string) =>
  parseManifest(file, text).objects.flatMap(object => object.trimmed.problems);
function failure(file: string, text: string): ManifestError {
  try {
    parseManifest(file, text);
  } catch (error) {
    if (error instanceof ManifestError) return error;
  }
  throw new Error('no ManifestError');
}

const TWO = `---
# an empty document
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  clusterIP: 10.96.0.10
  ports:
    - port: 80
    - port: 70000
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: shop
  labels: { kubernetes.io/service-name: web }
addressType: IPv4
endpoints:
  - addresses: [10.0.0.1]
`;

describe('parseManifest', () => {
  it('reads documents, in the namespace default where none is named', () => {
    expect(keys('a.yaml', TWO)).toEqual(['Service default/web', 'EndpointSlice shop/web-1']);
    expect(keys('a.yaml', 'kind: Node\nmetadata: {name: n1}\n')).toEqual(['Node n1']);
    const range =
      'apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: kubernetes}\nspec: {cidrs: [10.96.0.0/16]}\n';
    expect(keys('a.yaml', range)).toEqual(['ServiceCIDR kubernetes']);
    expect(parseManifest('a.yaml', range.replace('/v1', '/v1alpha1')).ignored).toEqual([
      'networking.k8s.io/v1alpha1 ServiceCIDR',
    ]);
  });

  it('names file, document, field and line of what is impossible', () => {
    expect(problems('services.yaml', TWO)).toEqual([
      {
        object: 'Service default/web',
        field: 'services.yaml, document 2, spec.ports[1].port',
        message: '70000 is not a whole number from 1 to 65535 (line 12)',
      },
    ]);
  });

  it('reads Lists, typed ones without the kind of each item too', () => {
    const items = [{ metadata: { name: 'a' } }, { metadata: { name: 'b' }, spec: { ports: [{ port: 0 }] } }];
    const typed = JSON.stringify({ apiVersion: 'v1', kind: 'ServiceList', items });
    expect(keys('a.json', typed)).toEqual(['Service default/a', 'Service default/b']);
    expect(problems('a.json', typed)[0]?.field).toBe('a.json, document 1, items[1].spec.ports[0].port');
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } };
    expect(keys('a.json', JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [node] }))).toEqual(['Node n1']);
  });

  it('reads tabs in JSON, anchors and merges in YAML', () => {
    expect(keys('a.json', '{\n\t"kind": "Node",\n\t"metadata": {"name": "n1"}\n}')).toEqual(['Node n1']);
    const merged = 'x: &m {namespace: shop}\nkind: Service\nmetadata:\n  <<: *m\n  name: web\n';
    expect(keys('a.yaml', merged)).toEqual(['Service shop/web']);
  });

  it('takes other kinds for what they are, also those with a name of ours', () => {
    const text = 'apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: serving.knative.dev/v1\nkind: Service\n';
    expect(parseManifest('a.yaml', text)).toEqual({
      objects: [],
      ignored: ['apps/v1 Deployment', 'serving.knative.dev/v1 Service'],
    });
  });

  it('finds nothing in nothing', () => {
    for (const [file, text] of [
      ['a.yaml', ''],
      ['a.yaml', '---\n# nothing\n---\n'],
      ['a.json', ' \n'],
    ] as const) {
      expect(parseManifest(file, text)).toEqual({ objects: [], ignored: [] });
    }
  });

  it.each([
    ['a.yaml', 'kind: Service\n---\nkind: [Service\n', 'document 2, line 4'],
    ['a.yaml', 'kind: Service\nkind: Node\n', 'document 1, line 2'],
    ['a.yaml', 'kind: Service\nmetadata: *nowhere\n', 'document 1'],
    ['a.yaml', 'just text\n', 'document 1'],
    ['a.yaml', '- kind: Service\n', 'document 1'],
    ['a.yaml', 'kind: Service\n---\nmetadata: {name: web}\n', 'document 2, kind'],
    ['a.json', '{"kind": "Service"', 'document 1'],
    ['a.json', '{"kind": "List", "items": [{}]}', 'document 1, items[0].kind'],
  ])('(%s) refuses %j and says where', (file, text, field) => {
    expect(failure(file, text).field).toContain(field);
  });
});
