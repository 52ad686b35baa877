import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startEndpointSliceController } from '../../src/lab/apiserver/endpointslice-controller.ts';
import { type ApiServer, startApiServer } from '../../src/lab/apiserver/server.ts';
import { describeUnless } from './requires.ts';

function hasKubectl(): boolean {
  try {
    execFileSync('kubectl', ['version', '--client'], { stdio: 'ignore' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

const manifest = `
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http, nodePort: 30080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: web, ports: [{name: http, containerPort: 8080}]}]}
`;

const podStatus = {
  status: {
    phase: 'Running',
    podIP: '10.0.0.1',
    podIPs: [{ ip: '10.0.0.1' }],
    conditions: [{ type: 'Ready', status: 'True' }],
  },
};

describeUnless(hasKubectl() ? '' : 'there is no kubectl', 'kubectl against the embedded API server', () => {
  let server: ApiServer;
  let home = '';
  const stop = new AbortController();

  function options(): { env: NodeJS.ProcessEnv } {
    return { env: { PATH: process.env.PATH ?? '', HOME: home } };
  }

  async function kubectl(...argv: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)('kubectl', [`--server=${server.url}`, ...argv], options());
    return stdout;
  }

  async function withInput(input: string, ...argv: string[]): Promise<string> {
    const running = promisify(execFile)('kubectl', [`--server=${server.url}`, ...argv], options());
    running.child.stdin?.end(input);
    return (await running).stdout;
  }

  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'kproxy-kubectl-'));
    server = await startApiServer({
      host: '127.0.0.1',
      port: 0,
      kubernetesService: { address: '192.0.2.1', port: 6443 },
    });
    startEndpointSliceController({ store: server.store, signal: stop.signal });
    server.store.create('nodes', '', {
      metadata: { name: 'n1' },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    });
  });

  afterAll(async () => {
    stop.abort();
    await server.close();
    rmSync(home, { recursive: true, force: true });
  });

  test('apply creates and changes', async () => {
    expect(await withInput(manifest, 'apply', '--validate=false', '-f', '-')).toBe(
      'service/web created\npod/web-1 created\n',
    );
    expect(await withInput(manifest, 'apply', '--validate=false', '-f', '-')).toBe(
      'service/web unchanged\npod/web-1 unchanged\n',
    );
    const changed = manifest.replace('port: 80,', 'port: 81,');
    expect(await withInput(changed, 'apply', '--validate=false', '-f', '-')).toBe(
      'service/web configured\npod/web-1 unchanged\n',
    );
  });

  test('get shows tables', async () => {
    const lines = (await kubectl('get', 'svc', '-A', '-o', 'wide')).split('\n').map(line => line.split(/\s+/));
    expect(lines[0]).toEqual(['NAMESPACE', 'NAME', 'TYPE', 'CLUSTER-IP', 'EXTERNAL-IP', 'PORT(S)', 'AGE', 'SELECTOR']);
    expect(lines[1]?.slice(0, 6)).toEqual(['default', 'kubernetes', 'ClusterIP', '10.96.0.1', '<none>', '443/TCP']);
    expect(lines[2]?.slice(0, 3)).toEqual(['default', 'web', 'NodePort']);
    expect(await kubectl('get', 'nodes')).toMatch(/^NAME +STATUS +ROLES +AGE +VERSION\nn1 +Ready/);
    expect(await kubectl('get', 'pods', '-o', 'name')).toBe('pod/web-1\n');
  });

  test('a ready Pod shows up as an endpoint', async () => {
    // kubectl has --subresource only since 1.24.
    server.store.patch('pods', 'default', 'web-1', pod => ({ ...pod, ...podStatus }), { subresource: 'status' });
    expect(await kubectl('get', 'endpointslices', '-l', 'kubernetes.io/service-name=web')).toMatch(
      /IPv4 +8080 +10\.0\.0\.1/,
    );
    const yaml = await kubectl('get', 'svc', 'web', '-o', 'yaml');
    expect(yaml).toContain('nodePort: 30080');
    expect(JSON.parse(await kubectl('get', 'svc', '-l', 'app=web', '-o', 'json')).items).toHaveLength(1);
  });

  test('get -w follows', async () => {
    const child = spawn('kubectl', [`--server=${server.url}`, 'get', 'svc', '-w'], options());
    let text = '';
    child.stdout.on('data', chunk => {
      text += chunk;
    });
    await expect.poll(() => text, { timeout: 10_000 }).toMatch(/web +NodePort/);
    await expect.poll(() => server.watchCount, { timeout: 10_000 }).toBe(1);
    await kubectl('label', 'svc', 'web', 'x=y');
    await kubectl('annotate', 'svc', 'web', 'a=b');
    await expect.poll(() => text.match(/web +NodePort/g)?.length, { timeout: 10_000 }).toBe(3);
    child.kill();
  });

  test('patch merges ports by number', async () => {
    await kubectl('patch', 'svc', 'web', '-p', '{"spec":{"ports":[{"port":81,"nodePort":30500}]}}');
    expect(await kubectl('get', 'svc', 'web', '-o', 'jsonpath={.spec.ports[*].nodePort}')).toBe('30500');
  });

  test('delete waits until the object is gone', async () => {
    expect(await kubectl('delete', 'pod/web-1', 'svc/web')).toContain('service "web" deleted');
    await expect(kubectl('get', 'svc', 'web')).rejects.toThrow(/services "web" not found/);
    expect(await kubectl('get', 'endpointslices', '-l', 'kubernetes.io/service-name=web', '-o', 'name')).toBe('');
  });

  test('create -f reports what is invalid', async () => {
    const bad = 'apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 0}]}\n';
    await expect(withInput(bad, 'create', '-f', '-')).rejects.toThrow(/spec.ports\[0\].port: Invalid value: 0/);
  });

  test('create of single kinds, which kubectl sends as protobuf', async () => {
    expect(await kubectl('create', 'namespace', 'made')).toBe('namespace/made created\n');
    await kubectl('create', 'configmap', 'c', '-n', 'made', '--from-literal=a=b');
    await kubectl('create', 'secret', 'generic', 's', '-n', 'made', '--from-literal=a=b');
    await kubectl('create', 'service', 'clusterip', 'svc', '-n', 'made', '--tcp=80:http', '--tcp=81:8081');
    expect(server.store.get('configmaps', 'made', 'c')?.data).toEqual({ a: 'b' });
    expect(server.store.get('secrets', 'made', 's')).toMatchObject({ type: 'Opaque', data: { a: 'Yg==' } });
    expect(server.store.get('services', 'made', 'svc')).toMatchObject({
      metadata: { labels: { app: 'svc' } },
      spec: {
        type: 'ClusterIP',
        selector: { app: 'svc' },
        ports: [
          { name: '80-http', port: 80, targetPort: 'http' },
          { name: '81-8081', port: 81, targetPort: 8081 },
        ],
      },
    });
    await kubectl('delete', 'namespace', 'made');
    expect(server.store.list('services', 'made')).toEqual([]);
  });

  test('api-resources and version read the discovery documents', async () => {
    expect(await kubectl('api-resources')).toMatch(/endpointslices +discovery.k8s.io\/v1 +true +EndpointSlice/);
    expect(await kubectl('version')).toContain('v1.36.2');
  });
});
