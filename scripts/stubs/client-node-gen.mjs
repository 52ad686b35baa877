// Stands for the generated client of @kubernetes/client-node in the bundle (scripts/bundle.mjs).
export const createConfiguration = () => {
  throw new Error('the generated Kubernetes client is not part of the kproxy-ts bundle: use node:https');
};
export class ServerConfiguration {
  constructor() {
    createConfiguration();
  }
}
