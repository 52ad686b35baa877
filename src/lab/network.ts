/** Makes a lab's fixed namespaces and the links between them. */
import { clientLinks, controlLinks, fixedMembers, namespaceOf, nodeLinks, nodes, sysctls } from './layout.ts';
import { configureLinks, createNamespaces, setSysctls } from './netns.ts';
import type { StateFile } from './state.ts';

/** @throws {ExecError} when the kernel or `ip` refuses */
export async function buildNetwork(state: StateFile): Promise<void> {
  const { name: lab, hasIPv6, hasCni } = state.current;
  const names = fixedMembers.map(member => namespaceOf(lab, member));
  state.addNamespaces(names);
  await createNamespaces(names);
  await Promise.all(fixedMembers.map(member => setSysctls(namespaceOf(lab, member), sysctls(member))));
  await configureLinks(namespaceOf(lab, 'control'), controlLinks(lab, { hasIPv6 }));
  await Promise.all([
    ...nodes.map(node => configureLinks(namespaceOf(lab, node.name), nodeLinks(node, { hasIPv6, hasBridge: !hasCni }))),
    configureLinks(namespaceOf(lab, 'client'), clientLinks({ hasIPv6 })),
  ]);
}
