#!/bin/sh
# Installs what the project needs (Debian packages, npm packages with our own Node) and builds dist/. Quick when nothing is missing.
# --tests, --bench: also the Debian packages that only those use.
set -eu
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin" # where Debian keeps most of them, and where a user's PATH doesn't look

fail() {
  echo "setup: $1" >&2
  exit 1
}

missing=""
need() {
  command -v "$2" >/dev/null 2>&1 || missing="$missing $1"
}
need iproute2 ip
need iptables iptables-nft-restore
need nftables nft
need conntrack conntrack
need procps sysctl
need curl curl
need kubernetes-client kubectl
need gcc gcc # these two compile the CNI plugin, to run on every Linux
need musl-tools musl-gcc
case "${1:-}" in
  --tests) # clients of DNS: glibc's are in every Debian
    need bind9-dnsutils dig
    need bind9-host host
    need knot-dnsutils kdig
    need iputils-ping ping
    need containernetworking-plugins /usr/lib/cni/bridge # whose pods are taken over
    ;;
  --bench)
    need dnsperf dnsperf
    need containernetworking-plugins /usr/lib/cni/bridge
    ;;
esac

if [ -n "$missing" ]; then
  command -v apt-get >/dev/null 2>&1 || fail "there is no apt-get here; install what these Debian packages have:$missing"
  [ "$(id -u)" -eq 0 ] || fail "run this as root once, to install these Debian packages:$missing"
  echo "setup: installing$missing" >&2
  said=$(mktemp)
  trap 'rm -f "$said"' EXIT
  apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o Acquire::http::Timeout=30 \
      -o DPkg::Lock::Timeout=120 "$@" >>"$said" 2>&1
  }
  apt update || true # one broken list among many needn't concern us: the next step tells whether the packages can be had
  # shellcheck disable=SC2086
  apt install -y --no-install-recommends $missing || {
    echo "setup: apt-get could not install$missing (no network, or other package sources than Debian's?); it ended with:" >&2
    tail -n 3 "$said" >&2
    exit 1
  }
  rm -f "$said"
  trap - EXIT
fi

# npm ci demands lock entries for every platform's optional packages; npm install takes the locked versions that this platform needs.
stamp=node_modules/.kproxy-ts-lock
node=node_modules/node/bin/node
if ! cmp -s package-lock.json "$stamp" || ! "$node" --version >/dev/null 2>&1; then
  echo "setup: installing npm packages" >&2
  # Without this question, npm install asks for minutes, package by package, before it says that nobody answers.
  retries="--fetch-retries=3 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=10000"
  # shellcheck disable=SC2086
  said=$(npm view node version --loglevel=error $retries 2>&1) || {
    echo "setup: npm's registry, $(npm config get registry 2>/dev/null), doesn't answer (no network, or a proxy to configure?):" >&2
    echo "$said" | head -n 3 >&2
    exit 1
  }
  # The build needs the development packages, whatever NODE_ENV says.
  # shellcheck disable=SC2086
  npm install --no-save --include=dev --no-audit --no-fund --loglevel=error $retries >&2 ||
    fail "npm could not install the packages"
  "$node" --version >/dev/null 2>&1 ||
    fail "npm installed no Node of ours: are install scripts turned off ('npm config get ignore-scripts')?"
  cp package-lock.json "$stamp"
fi

"$node" scripts/build.mjs || fail "dist/ could not be built"
"$node" scripts/build-cni.mjs || fail "the CNI plugin, dist/kproxy-cni, could not be built"
