#!/bin/sh
# Installs what the project needs (Debian packages, npm packages with our own Node) and builds dist/. Quick when nothing is missing.
set -eu
cd "$(dirname "$0")/.."

missing=""
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"; }
need ip iproute2
need iptables-restore iptables
need nft nftables
need conntrack conntrack
need sysctl procps
need kubectl kubernetes-client
if [ -n "$missing" ]; then
  echo "setup: installing$missing" >&2
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# npm ci demands lock entries for every platform's optional packages; npm install takes the locked versions that this platform needs.
stamp=node_modules/.kproxy-ts-lock
if ! cmp -s package-lock.json "$stamp" || [ ! -x node_modules/node/bin/node ]; then
  echo "setup: installing npm packages" >&2
  npm install --no-save --no-audit --no-fund --loglevel=error >&2
  cp package-lock.json "$stamp"
fi

node_modules/node/bin/node scripts/build.mjs
