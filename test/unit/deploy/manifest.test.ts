import { describe, expect, test } from 'vitest';
import { defaultConfiguration, parseConfiguration } from '../../../src/config/load.ts';
import { configurationText, daemonPod, initContainer, manifestText, objectsIn, theOnly } from './manifest.ts';
import { objectProblems } from './object-schema.ts';

/** The manifest's problems after a change of its text, which must be there to change. */
function problemsWith(before: string, after: string): string[] {
  expect(manifestText).toContain(before);
  return objectsIn(manifestText.replace(before, after)).flatMap(objectProblems);
}

describe('the objects of the manifest', () => {
  test('are what the Kubernetes API takes', () => {
    const objects = objectsIn(manifestText);
    expect(objects.flatMap(objectProblems)).toEqual([]);
    expect(objects.map(object => (object as { kind: string }).kind)).toEqual([
      'ServiceAccount',
      'ClusterRole',
      'ClusterRoleBinding',
      'ConfigMap',
      'DaemonSet',
    ]);
  });

  test.each([
    [
      'terminationGracePeriodSeconds:',
      'terminationGraceSeconds:',
      /template\.spec\.terminationGraceSeconds: .* no such/,
    ],
    ['maxSurge: 1', 'maxSurge: [1]', /maxSurge: must be a whole number or a string/],
    ['privileged: false', "privileged: 'no'", /securityContext\.privileged: must be a boolean/],
    ['port: 10256, path: /readyz', 'path: /readyz', /readinessProbe\.httpGet\.port: is missing/],
    ['add:\n', 'add: NET_ADMIN\n              addAll:\n', /capabilities\.add: must be a list/],
    ['k8s-app: kube-proxy', 'k8s-app: 1', /matchLabels\.k8s-app: must be a string/],
    ['  selector:', '  selectors:', /spec\.selector: is missing/],
    ['kind: ServiceAccount\n    name: kproxy-ts', 'name: kproxy-ts', /subjects\.0\.kind: is missing/],
    ['apiVersion: apps/v1', 'apiVersion: extensions/v1beta1', /there is no DaemonSet in extensions\/v1beta1/],
    ['kind: DaemonSet', 'kind: DeamonSet', /there is no DeamonSet in apps\/v1/],
  ])('with %j turned into %j are refused', (before, after, problem) => {
    expect(problemsWith(before, after)).toContainEqual(expect.stringMatching(problem));
  });

  test('with a field twice are refused', () => {
    expect(() => problemsWith('hostNetwork: true', 'hostNetwork: true\n      hostNetwork: false')).toThrow(/unique/);
  });

  test('belong together: account, role and labels have one name', () => {
    const { roleRef, subjects } = theOnly('ClusterRoleBinding');
    const account = { kind: 'ServiceAccount', name: daemonPod().pod.serviceAccountName, namespace: 'kube-system' };
    expect(subjects).toEqual([account]);
    expect(roleRef.name).toBe(theOnly('ClusterRole').metadata?.name);
    const { metadata, spec } = theOnly('DaemonSet');
    expect(metadata?.namespace).toBe(account.namespace);
    expect(spec?.template.metadata?.labels).toEqual(spec?.selector.matchLabels);
  });
});

describe('the configuration in the manifest', () => {
  const { configuration, warnings } = parseConfiguration(configurationText(), 'config.yaml');

  test('is valid, and all of it is used', () => {
    expect(warnings).toEqual([]);
  });

  test('names no node and no kubeconfig: the pod brings both', () => {
    expect(configuration).not.toHaveProperty('nodeName');
    expect(configuration).not.toHaveProperty('kubeconfigPath');
    expect(daemonPod().container.args).toContain('--hostname-override=$(NODE_NAME)');
    expect(daemonPod().container.env).toContainEqual({
      name: 'NODE_NAME',
      valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } },
    });
  });

  test('differs from the defaults in what the cluster and the pod decide, nothing else', () => {
    const { configuration: defaults } = defaultConfiguration();
    expect(configuration).toEqual({
      ...defaults,
      mode: 'iptables',
      detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16'] },
      oomScoreAdj: -997,
    });
  });

  test('is found where run looks for it, in a directory that follows the ConfigMap', () => {
    const { pod, container } = daemonPod();
    const volume = pod.volumes?.find(({ configMap }) => configMap?.name === theOnly('ConfigMap').metadata?.name);
    const mount = container.volumeMounts?.find(({ name }) => name === volume?.name);
    expect(mount).toMatchObject({ readOnly: true });
    expect(mount).not.toHaveProperty('subPath'); // a file mounted that way never changes
    expect(container.args).toContain(`--config=${mount?.mountPath}/config.yaml`);
  });

  test('listens where the probes ask', () => {
    const { readinessProbe, livenessProbe } = daemonPod().container;
    const { port } = configuration.healthz;
    expect(readinessProbe?.httpGet).toEqual({ host: '127.0.0.1', port, path: '/readyz' });
    expect(livenessProbe?.httpGet).toEqual({ host: '127.0.0.1', port, path: '/livez' });
  });
});

describe('the pod', () => {
  const { pod, container } = daemonPod();

  test('can start beside the one that it follows: a surge, and no port that the scheduler would count', () => {
    expect(theOnly('DaemonSet').spec?.updateStrategy).toEqual({
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
    });
    expect(container.ports).toBeUndefined();
    expect(pod.hostNetwork).toBe(true);
  });

  test('starts where no kube-proxy writes the same rules', () => {
    expect(pod.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution).toEqual([
      { labelSelector: { matchLabels: { 'k8s-app': 'kube-proxy' } }, topologyKey: 'kubernetes.io/hostname' },
    ]);
  });

  test('runs on every Linux node, whatever its taints, before all others', () => {
    expect(pod.tolerations).toEqual([{ operator: 'Exists' }]);
    expect(pod.nodeSelector).toEqual({ 'kubernetes.io/os': 'linux' });
    expect(pod.priorityClassName).toBe('system-node-critical');
  });

  test('mounts each of its volumes once, and nothing else', () => {
    const volumes = pod.volumes?.map(({ name }) => name) ?? [];
    const mounts = container.volumeMounts?.map(({ name }) => name) ?? [];
    expect(mounts.toSorted()).toEqual(volumes.toSorted());
    expect(new Set(volumes).size).toBe(volumes.length);
  });

  test('shares the runtime directory and the lock of iptables with its node', () => {
    const paths = pod.volumes?.map(({ hostPath }) => hostPath).filter(path => path !== undefined);
    expect(paths).toEqual([
      { path: '/run/kproxy-ts', type: 'DirectoryOrCreate' },
      { path: '/run/xtables.lock', type: 'FileOrCreate' },
    ]);
    for (const { hostPath, name } of pod.volumes ?? []) {
      if (hostPath === undefined) continue;
      expect(container.volumeMounts?.find(mount => mount.name === name)?.mountPath).toBe(hostPath.path);
    }
  });

  test('has no power beyond its capabilities, and writes nothing but what it mounts', () => {
    const { capabilities, ...rest } = container.securityContext ?? {};
    expect(capabilities?.drop).toEqual(['ALL']);
    expect(rest).toEqual({
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      runAsUser: 0,
      runAsGroup: 0,
    });
    expect(pod.securityContext?.seccompProfile).toEqual({ type: 'RuntimeDefault' });
    expect(pod).not.toHaveProperty('hostPID');
    expect(pod).not.toHaveProperty('hostIPC');
  });

  test('leaves to an init container what takes privileges; that one sees the configuration, and of the node the lock of the tools', () => {
    const { image, args, securityContext, volumeMounts, env } = initContainer();
    expect(image).toBe(container.image);
    expect(args).toEqual(['run', '--init-only', '--config=/etc/kproxy-ts/config.yaml']);
    expect(securityContext).toEqual({
      privileged: true,
      readOnlyRootFilesystem: true,
      runAsUser: 0,
      runAsGroup: 0,
    });
    expect(volumeMounts).toEqual(container.volumeMounts?.filter(({ name }) => name !== 'run'));
    expect(env).toBeUndefined();
  });

  test('asks the API server at an address that has to be filled in, never at the Service that it makes itself', () => {
    const host = container.env?.find(({ name }) => name === 'KUBERNETES_SERVICE_HOST')?.value;
    expect(host).toMatch(/\.invalid$/); // RFC 6761: no resolver knows it, so a forgotten edit is an error and no wrong server
    expect(container.env?.map(({ name }) => name)).toContain('KUBERNETES_SERVICE_PORT');
    const marked = manifestText.split('\n').filter(line => /# EDIT:/.test(line));
    expect(marked.map(line => line.trim().replace(/\s+# EDIT:.*/, ''))).toEqual([
      'clusterCIDR: 10.244.0.0/16',
      'value: api-server.invalid',
      'value: "6443"',
    ]);
  });
});
