#!/usr/bin/env bash
# Builds a Kubernetes into target/kubernetes, without installing it, for `make test-k8s`; prints the folder of its
# programs. It is Debian bookworm's source package, built with bookworm's Go, and bookworm's etcd. Nothing is done where
# the programs are there: remove the folder to have them again.
#
# apt fetches it with lists, cache and state of its own, so that the machine's own know nothing of it; packages and
# sources are verified by the keyring of this Debian. rsync, which the build wants, and iptables and conntrack, which
# kube-proxy runs, are the machine's, as are Debian's tools for source packages.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=(kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl)
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
into=$PWD/target/kubernetes

missing=()
for package in rsync dpkg-dev iptables conntrack; do
  if [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null) != installed ]]; then
    missing+=("$package")
  fi
done
if ((${#missing[@]})); then
  echo "installing ${missing[*]}" >&2
  {
    apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
  } >&2
fi

# Fetches Go, etcd and the sources into the folder $1.
fetch() {
  mkdir -p "$1"/{lists/partial,cache/archives/partial,etc/preferences.d,root}
  local kind
  for kind in deb deb-src; do
    echo "$kind [signed-by=$keyring] $mirror bookworm main"
  done > "$1/sources.list"
  local options=(
    --option "Dir::Etc=$1/etc"
    --option "Dir::Etc::SourceList=$1/sources.list"
    --option "Dir::Etc::SourceParts=-"
    --option "Dir::State::Lists=$1/lists"
    --option "Dir::State::status=/dev/null"
    --option "Dir::Cache=$1/cache"
    --option "APT::Sandbox::User=root"
    --option "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
    --option "Acquire::Languages=none"
    --quiet
  )
  apt-get "${options[@]}" update
  (
    cd "$1"
    apt-get "${options[@]}" download golang-1.19-go golang-1.19-src etcd-server
    apt-get "${options[@]}" source --download-only kubernetes
    for package in *.deb; do
      dpkg --extract "$package" root
    done
    # apt has verified it.
    dpkg-source --no-check --extract kubernetes_*.dsc kubernetes
  )
}

# Builds the programs in the folder $1.
build() {
  export GOROOT=$1/root/usr/lib/go-1.19 GOPATH=$1/gopath GOCACHE=$1/cache/go HOME=$1
  export GO111MODULE=off CGO_ENABLED=0
  export PATH=$GOROOT/bin:$PATH
  mkdir -p "$GOPATH/src/k8s.io"
  ln -s "$1/kubernetes" "$GOPATH/src/k8s.io/kubernetes"
  cd "$GOPATH/src/k8s.io/kubernetes"
  make WHAT="${programs[*]/#/cmd/}" GOLDFLAGS="-s -w"
}

if [[ ! -d $into/bin ]]; then
  work=$into/work
  rm -rf "$work"
  {
    fetch "$work"
    (build "$work")
    mkdir "$work/bin"
    for program in "${programs[@]}"; do
      cp "$work/kubernetes/_output/local/go/bin/$program" "$work/bin/"
    done
    cp "$work/root/usr/bin/etcd" "$work/bin/"
    mv "$work/bin" "$into/bin"
    # 3 GB, of no use any more.
    rm -rf "$work"
  } >&2
fi
"$into/bin/kubelet" --version >&2
echo "$into/bin"
