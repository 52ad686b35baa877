/** Calls kproxy-cni as a container runtime would: ADD before a pod's process starts, DEL when it has ended. */
import { join } from 'node:path';
import { ExecError, run } from '../linux/exec.ts';
import { runtimeDir } from './daemons.ts';
import { projectDir } from './install.ts';
import { namespaceOf } from './layout.ts';
import type { PodState } from './state.ts';

const program = join(projectDir, 'dist/kproxy-cni');

interface OfLab {
  readonly lab: string;
  readonly hasIPv6: boolean;
}

/** @throws with the plugin's error */
export async function attachPod(of: OfLab, pod: PodState): Promise<void> {
  await call('ADD', of, pod);
}

/** @throws with the plugin's error */
export async function detachPod(
  { name: lab, hasIPv6 }: { readonly name: string; readonly hasIPv6: boolean },
  pod: PodState,
): Promise<void> {
  await call('DEL', { lab, hasIPv6 }, pod);
}

async function call(verb: 'ADD' | 'DEL', { lab, hasIPv6 }: OfLab, pod: PodState): Promise<void> {
  const configuration = {
    cniVersion: '1.1.0',
    name: 'lab',
    type: 'kproxy-cni',
    bridge: 'cni0',
    isDefaultGateway: true,
    ipMasq: true,
    ipam: { type: 'kproxy-cni' },
    // A lab's pods have the addresses that its state file says.
    runtimeConfig: { ips: hasIPv6 ? [pod.ip, pod.ip6] : [pod.ip] },
    kproxyRuntimeDir: runtimeDir(lab, pod.node),
  };
  const env = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: pod.name,
    CNI_NETNS: `/run/netns/${namespaceOf(lab, pod.name)}`,
    CNI_IFNAME: 'eth0',
    CNI_PATH: join(projectDir, 'dist'),
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod.name}`,
  };
  try {
    await run(program, [], { netns: namespaceOf(lab, pod.node), env, input: JSON.stringify(configuration) });
  } catch (error) {
    if (error instanceof ExecError)
      throw new Error(`${verb} of pod ${pod.name} failed: ${error.stdout.trim() || error.message}`, { cause: error });
    throw error;
  }
}
