#!/bin/sh
# npm run conformance -- [--vectors DIR] [--backend NAME] [--packets]: sets up and runs the conformance vectors; see docs/conformance.md.
set -eu
export INIT_CWD="${INIT_CWD:-$PWD}" # where a relative DIR is meant from
cd "$(dirname "$0")/.."
sh scripts/setup.sh
export PATH="$PWD/node_modules/node/bin:/usr/sbin:/sbin:$PATH"
exec node test/conformance/runner/main.ts "$@"
