#!/usr/bin/env bash
# Installs what building and testing catena need on Debian 12, as root. What is there is left alone, so that a
# second run costs a moment and no network.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(
  # builds: a linker, the C of ring and zstd, the protocol files of containerd, seccomp
  gcc libc6-dev make pkg-config protobuf-compiler libseccomp-dev
  # runs and tests
  containerd runc containernetworking-plugins iproute2 busybox-static openssl curl ca-certificates strace
  # the servers that apps work with, and the registry of the tests
  redis-server mosquitto postgresql mariadb-server docker-registry
  # deploy/: the bundle, and what lints and renders it
  binutils patchelf shellcheck yamllint python3-venv
)

# For the guests in JavaScript; those in Python take python3-venv. Any Node.js will do that brings npm, and one that is
# not Debian's cannot stand beside Debian's.
if ! command -v npm > /dev/null; then
  packages+=(nodejs npm)
fi

missing=()
for package in "${packages[@]}"; do
  if [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null) != installed ]]; then
    missing+=("$package")
  fi
done

if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # No daemon is started: tests and `make run` start their own.
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  apt-get update --quiet
  apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
fi

# What speaks the API of Amazon SQS; no Debian package has it.
if [[ ! -x target/moto/bin/moto_server ]]; then
  python3 -m venv target/moto
  target/moto/bin/python3 -m pip install --quiet --disable-pip-version-check 'moto[server]==5.*'
fi

if ! command -v rustup > /dev/null; then
  echo "rustup is missing: install it from https://rustup.rs, then run this again" >&2
  exit 1
fi
# The version, its parts and the wasm targets are those of rust-toolchain.toml.
toolchain=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
have=$(rustup target list --installed --toolchain "$toolchain" 2> /dev/null || true)
if [[ $have != *wasm32-wasip1* || $have != *wasm32-wasip2* ]] || ! cargo clippy --version > /dev/null 2>&1; then
  rustup toolchain install "$toolchain" --profile minimal \
    --component rustfmt --component clippy --target wasm32-wasip1 --target wasm32-wasip2
fi
