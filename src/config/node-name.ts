/**
 * The name of the Node object this process serves: the override, else the host's name; trimmed and in lower case, as
 * kube-proxy does (k8s.io/component-helpers/node/util GetHostname).
 * @throws Error when both are empty.
 */
export function resolveNodeName(override: string | undefined, osHostname: () => string): string {
  const given = override?.trim() ?? '';
  const name = (given === '' ? osHostname() : given).trim().toLowerCase();
  if (name === '') throw new Error("the host has no name: set hostnameOverride, or run with '--hostname-override'");
  return name;
}
