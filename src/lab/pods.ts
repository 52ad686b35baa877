/** Pods of a lab: a namespace on the node's bridge with an echo process in it. The API objects are made by `Lab`. */
import { join } from 'node:path';
import { labProgram } from './install.ts';
import { namespaceOf, nodeLayout, podAddress, podAddress6, podLinks, podPort, sysctls } from './layout.ts';
import { resolvConf } from './manifests.ts';
import { configureLinks, createNamespaces, deleteNamespaces, setResolvConf, setSysctls } from './netns.ts';
import { endProcesses, launch, markedEnv } from './process.ts';
import { attachPod, detachPod } from './runtime.ts';
import { type LabState, labDir, type PodState, type StateFile } from './state.ts';

/** Writes the next pod of the node into the state: its name and address are taken from now on. */
export function reservePod(state: StateFile, nodeName: string): PodState {
  const node = nodeLayout(nodeName);
  const { podsEver, hasIPv6 } = state.current;
  const nth = (podsEver[node.name] ?? 0) + 1;
  const number = Object.values(podsEver).reduce((sum, count) => sum + count, 1);
  const pod: PodState = {
    name: `web-${number}`,
    node: node.name,
    ip: podAddress(node, nth),
    ip6: hasIPv6 ? podAddress6(node, nth) : '',
    process: null,
  };
  state.update({ podsEver: { ...podsEver, [node.name]: nth } });
  state.addNamespaces([namespaceOf(state.current.name, pod.name)]);
  state.putPod(pod);
  return pod;
}

/** Makes reserved pods and returns when they answer. @throws when one doesn't come up */
export async function startPods(state: StateFile, pods: readonly PodState[]): Promise<void> {
  const lab = state.current.name;
  await createNamespaces(pods.map(pod => namespaceOf(lab, pod.name)));
  // One after the other: two `ip` processes that make links in one node's namespace wait for each other anyway.
  for (const pod of pods) await wire(state.current, pod);
  if (state.current.hasDns) {
    await Promise.all(pods.map(pod => setResolvConf(namespaceOf(lab, pod.name), resolvConf('default'))));
  }
  await Promise.all(pods.map(pod => startEchoProcess(state, pod)));
}

async function wire({ name: lab, hasCni, hasIPv6 }: LabState, pod: PodState): Promise<void> {
  if (hasCni) return attachPod({ lab, hasIPv6 }, pod);
  const lines = podLinks(lab, nodeLayout(pod.node), pod);
  await setSysctls(namespaceOf(lab, pod.name), sysctls(pod.name));
  await configureLinks(namespaceOf(lab, pod.node), lines.node);
  await configureLinks(namespaceOf(lab, pod.name), lines.pod);
}

async function startEchoProcess(state: StateFile, pod: PodState): Promise<void> {
  const lab = state.current.name;
  const identity = { pod: pod.name, node: pod.node, ip: pod.ip };
  const logFile = join(labDir(lab), `${pod.name}.log`);
  const launched = await launch({
    netns: namespaceOf(lab, pod.name),
    command: [...labProgram('pod'), 'echo', JSON.stringify(identity), String(podPort)],
    env: markedEnv(lab),
    logFile,
    announces: true,
  });
  state.putPod({ ...pod, process: launched.id });
  if ((await launched.announcement) !== 'ready')
    throw new Error(`pod ${pod.name} ${await launched.ended}; see ${logFile}`);
}

/** Ends the pod's process and removes its namespace, links included. */
export async function stopPod(state: StateFile, pod: PodState): Promise<void> {
  const netns = namespaceOf(state.current.name, pod.name);
  if (pod.process !== null) await endProcesses([pod.process]);
  if (state.current.hasCni) await detachPod(state.current, pod);
  await deleteNamespaces([netns]);
  state.update({
    pods: state.current.pods.filter(({ name }) => name !== pod.name),
    namespaces: state.current.namespaces.filter(name => name !== netns),
  });
}
