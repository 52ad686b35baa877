// Stands for the parts of prom-client that we don't use in the bundle (scripts/bundle.mjs).
module.exports = () => {
  throw new Error('this part of prom-client is not part of the kproxy-ts bundle');
};
