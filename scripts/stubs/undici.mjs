// Stands for undici in the bundle (scripts/bundle.mjs): requests to the API server go through node:https.
const refuse = () => {
  throw new Error('undici is not part of the kproxy-ts bundle: use applyToHTTPSOptions and node:https');
};

export const fetch = refuse;
export class Agent {
  constructor() {
    refuse();
  }
}
export class ProxyAgent extends Agent {}
