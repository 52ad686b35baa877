import { isExternallyAccessible } from './service-ports.ts';
import type { Model } from './types.ts';

/**
 * The Service ports whose traffic this node drops for want of a local endpoint, though there are endpoints elsewhere. Without any
 * endpoint it is refused, and doesn't count; as in kube-proxy.
 */
export function countNoLocal(model: Model): { readonly internal: number; readonly external: number } {
  let internal = 0;
  let external = 0;
  for (const { servicePort, localEndpoints, hasAnyEndpoints } of model.routes.values()) {
    if (!hasAnyEndpoints || localEndpoints.length > 0) continue;
    if (servicePort.isInternalLocal) internal += 1;
    if (servicePort.isExternalLocal && isExternallyAccessible(servicePort)) external += 1;
  }
  return { internal, external };
}
