/** Makes a lab's fixed namespaces and the links between them. */
import { clientLinks, controlLinks, fixedMembers, namespaceOf, nodeLinks, nodes, sysctls } from './layout.ts';
import { configureLinks, createNamespaces, setSysctls } from './netns.ts';
import type { StateFile } from './state.ts';

/** @throws {ExecError} when the kernel or `ip` refuses */
export async function buildNetwork(state: StateFile): Promise<void> {
  const lab = state.current.name;
  const names = fixedMembers.map(member => namespaceOf(lab, member));
  state.addNamespaces(names);
  await createNamespaces(names);
  await Promise.all(fixedMembers.map(member => applySysctls(lab, member)));
  await configureLinks(namespaceOf(lab, 'control'), controlLinks(lab));
  await Promise.all([
    ...nodes.map(node => configureLinks(namespaceOf(lab, node.name), nodeLinks(node))),
    configureLinks(namespaceOf(lab, 'client'), clientLinks()),
  ]);
}

async function applySysctls(lab: string, member: string): Promise<void> {
  const values = sysctls(member);
  if (Object.keys(values).length > 0) await setSysctls(namespaceOf(lab, member), values);
}
