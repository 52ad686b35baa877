import type { ConfigurationFields } from '../config/configuration.ts';
import { effectiveDocuments, KUBE_PROXY, NODE } from '../config/effective.ts';
import { JSON_TYPE, type Route } from './routes.ts';

/**
 * `/configz` of the metrics server: the configuration in effect as JSON, under its API group as in kube-proxy; the documents are the
 * published ones and not kube-proxy's internal type (kubernetes/kubernetes#137426). `fields` is asked for each request.
 */
export function configzRoute(fields: () => ConfigurationFields): Route {
  return () => {
    const { kubeProxy, node } = effectiveDocuments(fields());
    const body = JSON.stringify({ [groupOf(KUBE_PROXY)]: kubeProxy, [groupOf(NODE)]: node });
    return { status: 200, contentType: JSON_TYPE, body };
  };
}

function groupOf({ apiVersion }: { apiVersion: string }): string {
  return apiVersion.replace(/\/.*$/, '');
}
