#!/usr/bin/env bash
# Fetches the containerds of later Debians into target/containerd/<suite>, without installing them, for
# `make test-matrix`; prints the folder with the binaries of each, a line a suite. Nothing is fetched where a
# suite's is there: remove its folder to have it again.
#
# apt does it, with lists, cache and state of its own, so that the machine's own know nothing of these suites. The
# packages are verified by the keyring of this Debian. runc stays the machine's: theirs wants a newer C library.
set -euo pipefail
cd "$(dirname "$0")/../.."

# trixie is stable (1.7.24); sid moves (2.1).
suites=("$@")
((${#suites[@]})) || suites=(trixie sid)
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Fetches the containerd of the suite $1 and unpacks it into $2.
fetch() {
  local suite=$1 into=$2
  local work
  work=$(mktemp --directory "$into.XXXXXX")
  # shellcheck disable=SC2064 # the folder of this call
  trap "rm -rf '$work'" RETURN
  mkdir -p "$work"/{lists/partial,cache/archives/partial,etc/preferences.d,root}
  echo "deb [signed-by=$keyring] $mirror $suite main" > "$work/sources.list"
  local options=(
    --option "Dir::Etc=$work/etc"
    --option "Dir::Etc::SourceList=$work/sources.list"
    --option "Dir::Etc::SourceParts=-"
    --option "Dir::State::Lists=$work/lists"
    --option "Dir::State::status=/dev/null"
    --option "Dir::Cache=$work/cache"
    --option "APT::Sandbox::User=root"
    --option "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
    --option "Acquire::Languages=none"
    --quiet
  )
  apt-get "${options[@]}" update >&2
  (cd "$work" && apt-get "${options[@]}" download containerd >&2)
  dpkg --extract "$work"/containerd_*.deb "$work/root"
  mv "$work/root/usr" "$into"
}

for suite in "${suites[@]}"; do
  folder=$PWD/target/containerd/$suite
  if [[ ! -x $folder/bin/containerd ]]; then
    mkdir -p target/containerd
    rm -rf "$folder"
    fetch "$suite" "$folder"
  fi
  "$folder/bin/containerd" --version >&2
  echo "$folder/bin"
done
