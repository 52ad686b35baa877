import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { V1Container, V1PodSpec } from '@kubernetes/client-node';
import { describe, expect, test } from 'vitest';
import { HOST_LOCAL_DIRECTORY } from '../../../src/cni/ipam/host-local.ts';
import { defaultConfiguration } from '../../../src/config/load.ts';
import { projectDir } from '../../../src/lab/install.ts';
import { daemonPod, objectsIn, theOnly } from './manifest.ts';
import { objectProblems } from './object-schema.ts';

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What entries of lists are known by in a strategic merge patch, for those that the patch has. */
const KEYS: Readonly<Record<string, string>> = { containers: 'name', volumes: 'name', volumeMounts: 'mountPath' };

/** A strategic merge: null takes a field away, entries of lists with a key are merged by it. */
function merged(target: unknown, patch: unknown, field = ''): unknown {
  const key = KEYS[field];
  if (key !== undefined && Array.isArray(target) && Array.isArray(patch)) return mergedByKey(target, patch, key);
  if (!isObject(target) || !isObject(patch)) return patch;
  const fields = Object.entries(patch).filter(([, value]) => value !== null);
  const rest = Object.entries(target).filter(([name]) => patch[name] !== null);
  const changed = fields.map(([name, value]) => [name, merged(target[name], value, name)]);
  return { ...Object.fromEntries(rest), ...Object.fromEntries(changed) };
}

function mergedByKey(target: readonly Json[], patch: readonly Json[], key: string): unknown[] {
  const changeOf = (entry: Json) => patch.find(other => other[key] === entry[key]);
  const added = patch.filter(entry => target.every(other => other[key] !== entry[key]));
  return [...target.map(entry => merged(entry, changeOf(entry) ?? {})), ...added];
}

const [patch] = objectsIn(readFileSync(join(projectDir, 'deploy/cni.patch.yaml'), 'utf8'));
const patched = merged(theOnly('DaemonSet'), patch) as { spec: { template: { spec: V1PodSpec } } };
const pod = patched.spec.template.spec;
const [container] = pod.containers as [V1Container];

describe('the DaemonSet with the patch for pods’ networks', () => {
  test('is what the Kubernetes API takes', () => {
    expect(objectProblems(patched)).toEqual([]);
    expect(pod.containers).toHaveLength(1);
  });

  test('may enter pods’ namespaces and write /proc/sys, and still nothing of its root', () => {
    expect(container.securityContext).toEqual({
      privileged: true,
      allowPrivilegeEscalation: true, // false beside privileged is refused by the API server
      readOnlyRootFilesystem: true,
      runAsUser: 0,
      runAsGroup: 0,
    });
  });

  test('sees namespaces that are made later, and keeps its database on the node, where host-local had its own', () => {
    const added = container.volumeMounts?.slice(daemonPod().container.volumeMounts?.length);
    expect(added).toEqual([
      { name: 'netns', mountPath: '/run/netns', mountPropagation: 'HostToContainer' },
      { name: 'state', mountPath: defaultConfiguration().configuration.cni.stateDirectory },
      { name: 'host-local', mountPath: HOST_LOCAL_DIRECTORY },
    ]);
    for (const { name, mountPath } of added ?? [])
      expect(pod.volumes).toContainEqual({ name, hostPath: { path: mountPath, type: 'DirectoryOrCreate' } });
  });

  test('is otherwise as it was', () => {
    const { containers, volumes, ...rest } = pod;
    const { pod: before, container: old } = daemonPod();
    expect(rest).toEqual((({ containers: _, volumes: __, ...others }) => others)(before));
    expect(volumes?.slice(0, before.volumes?.length)).toEqual(before.volumes);
    expect({ ...container, securityContext: old.securityContext, volumeMounts: old.volumeMounts }).toEqual(old);
    expect(containers.map(({ name }) => name)).toEqual([old.name]);
  });
});
