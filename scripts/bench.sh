#!/bin/sh
# npm run bench -- NAME: sets up and runs one of bench/*.ts, as root; everything happens in network namespaces of its own.
set -eu
cd "$(dirname "$0")/.."
name="${1:-}"
if [ -z "$name" ] || [ ! -f "bench/$name.ts" ]; then
  echo "usage: npm run bench -- NAME, with NAME one of: $(cd bench && ls *.ts | sed 's/\.ts$//' | tr '\n' ' ')" >&2
  exit 2
fi
sh scripts/setup.sh --bench
export PATH="$PWD/node_modules/node/bin:/usr/sbin:/sbin:$PATH"
shift
exec node "bench/$name.ts" "$@"
