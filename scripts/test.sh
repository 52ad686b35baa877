#!/bin/sh
# npm test [-- vitest arguments]: sets up, checks style and types, runs every project; the last line is the count.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh --tests
export PATH="$PWD/node_modules/node/bin:$PWD/node_modules/.bin:/usr/sbin:/sbin:$PATH"
if [ $# -eq 0 ]; then
  biome check .
  oxlint --type-aware src test bench
  tsc --noEmit
fi
exec node node_modules/vitest/vitest.mjs run "$@"
