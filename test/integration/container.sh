#!/bin/sh
# What a container runtime makes of the manifest's pod: a root of its own, read-only but for what is mounted, a minimal /dev, /proc with
# a read-only /proc/sys, as in any unprivileged container. Runs as the first process of new mount and pid namespaces:
# container.sh ROOT PROJECT DIRECTORY CAPABILITIES [NAME=VALUE…] -- PROGRAM [ARGUMENT…], with DIRECTORY holding config/, run/, secrets/,
# hosts and xtables.lock, and CAPABILITIES as setpriv takes them.
set -eu
root=$1 project=$2 directory=$3 capabilities=$4
shift 4

mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/kproxy-ts etc/alternatives proc sys dev tmp var run/kproxy-ts run/secrets/kubernetes.io/serviceaccount \
  opt/kproxy-ts/bin opt/kproxy-ts/dist opt/kproxy-ts/node_modules
ln -s /run var/run

read_only() { mount --bind -o ro "$1" "$root/$2"; }
read_only /usr usr
for name in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then cp -P "/$name" .; fi
  if [ -d "/$name" ] && [ ! -L "/$name" ]; then mkdir "$name" && read_only "/$name" "$name"; fi
done
read_only /etc/alternatives etc/alternatives
for name in ld.so.cache nsswitch.conf protocols services passwd group; do
  if [ -f "/etc/$name" ]; then cp "/etc/$name" etc/; fi
done
cp "$directory/hosts" etc/hosts
# What the image will hold.
for name in bin dist node_modules; do
  read_only "$(readlink -f "$project/$name")" "opt/kproxy-ts/$name"
done

mount -t proc proc proc
mount --bind -o ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
for name in null zero full random urandom; do
  touch "dev/$name" && mount --bind "/dev/$name" "dev/$name"
done

read_only "$directory/config" etc/kproxy-ts
read_only "$directory/secrets" run/secrets/kubernetes.io/serviceaccount
mount --bind "$directory/run" run/kproxy-ts
touch run/xtables.lock && mount --bind "$directory/xtables.lock" run/xtables.lock
mount -o remount,ro "$root"

# Collects the environment: env would take a `--` after it for a program.
variables=
while [ "$1" != -- ]; do
  variables="$variables $1"
  shift
done
shift
# shellcheck disable=SC2086
exec env -i $variables chroot "$root" setpriv --bounding-set="$capabilities" --inh-caps=-all --no-new-privs "$@"
