#!/usr/bin/env bash
# Runs test programs in a small virtual machine: Debian 12 with systemd and cgroup version 2 alone, which a machine or
# a container that one develops in seldom has. `make test-cgroup2` calls it with the programs that cargo has built; as
# root, for the file system is made by mmdebstrap. TEST_ARGS are arguments of every program.
#
# The machine has two disks: Debian, made once and never written to (target/vm/debian.img), and what the tests read of
# this repository, at its own path. It has no network. Its output is the third serial line's: the first is the
# kernel's and systemd's (target/vm/console.log), the second takes the exit code.
set -euo pipefail
cd "$(dirname "$0")/../.."

# How long the machine may take for everything, in seconds: emulated on two cores, it took 2200.
limit=${VM_TIMEOUT:-5400}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
packages=systemd,systemd-sysv,dbus,linux-image-cloud-amd64,containerd,runc,containernetworking-plugins,busybox-static
packages+=,iproute2,ca-certificates,openssl,libseccomp2,netbase,apparmor,docker-registry
folder=$PWD/target/vm

# Debian, its kernel and its initrd, in files named by what they are made of.
make_debian() {
  local made_of tree
  made_of=$(declare -p packages | cat - <(declare -f make_debian) | sha256sum | cut -c -16)
  debian=$folder/debian-$made_of
  [[ -e $debian.img ]] && return
  rm -rf "$folder"/debian-* "$folder"/tree.*
  tree=$(mktemp --directory "$folder/tree.XXXXXX")
  echo "making a Debian for the virtual machine" >&2
  timeout 600 mmdebstrap --quiet --variant=minbase --include="$packages" bookworm "$tree" "$mirror"
  printf '127.0.0.1 localhost\n::1 localhost\n' > "$tree/etc/hosts"
  rm -rf "$tree"/var/lib/apt/lists/* "$tree"/usr/share/{doc,locale,man}
  mv "$tree"/boot/vmlinuz-* "$debian.kernel"
  mv "$tree"/boot/initrd.img-* "$debian.initrd"
  mkfs.ext4 -q -d "$tree" "$debian.img.part" 6G
  mv "$debian.img.part" "$debian.img"
  rm -rf "$tree"
}

# The disk with the programs $@, the shim and what tests read, and the script that runs them.
make_work() {
  local tree
  tree=$(mktemp --directory "$folder/tree.XXXXXX")
  mkdir "$tree/repository"
  cp --archive --link --parents -- "$@" target/quick/containerd-shim-catena-v1 \
    target/guests/*/release/*.wasm images/*/spin.toml test/apps "$tree/repository"
  # As cargo calls them: in their package's folder.
  cat > "$tree/run" << RUN
#!/bin/bash
exec > /dev/ttyS2 2>&1
mount -o remount,rw /
stty -F /dev/ttyS2 -opost
# A boot for one command does without; a node has it.
systemctl start dbus.service
mkdir -p $PWD && mount --bind /mnt/repository $PWD && cd $PWD/test
echo "Linux \$(uname -r), \$(containerd --version), \$(findmnt --noheadings --output FSTYPE /sys/fs/cgroup)"
code=0
for program in ${*@Q}; do
  echo "== \$program"
  TEST_CGROUPS=systemd ../\$program ${TEST_ARGS:-} || code=1
done
echo \$code > /dev/ttyS1
RUN
  chmod +x "$tree/run"
  rm -f "$folder/work.img"
  mkfs.ext4 -q -d "$tree" "$folder/work.img" 1G
  rm -rf "$tree"
}

run_machine() {
  local accelerator=kvm processor=host
  # A machine within a machine may have the device and lack what guests need of the processor.
  if [[ ! -w /dev/kvm ]] || ! grep -qwE 'vmx|svm' /proc/cpuinfo; then
    echo "KVM cannot be used here: the machine is emulated, which takes many times as long" >&2
    accelerator=tcg,thread=multi processor=max
  fi
  rm -f "$folder/code"
  timeout --foreground "$limit" qemu-system-x86_64 -nodefaults -display none -no-reboot \
    -accel "$accelerator" -cpu "$processor" -smp 2 -m 3G \
    -drive "file=$debian.img,format=raw,if=virtio,snapshot=on" \
    -drive "file=$folder/work.img,format=raw,if=virtio,readonly=on" \
    -serial "file:$folder/console.log" -serial "file:$folder/code" -serial stdio \
    -kernel "$debian.kernel" -initrd "$debian.initrd" \
    -append 'root=/dev/vda rw console=ttyS0 panic=-1 systemd.unified_cgroup_hierarchy=1 systemd.run="/bin/sh -c '\''mount -o ro /dev/vdb /mnt && exec /mnt/run'\''"' \
    < /dev/null
}

mkdir -p "$folder"
make_debian
make_work "$@"
run_machine || echo "the virtual machine ended with $? (124: it took more than $limit seconds)" >&2
if [[ ! -s $folder/code ]]; then
  tail -n 40 "$folder/console.log" >&2
  echo "the tests did not come to their end" >&2
  exit 1
fi
exit "$(tr -d '\r\n' < "$folder/code")"
