# What people run. README's two: `make run` and `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
# Parts of the names of the tests that `make test-k8s` runs; all where it is empty.
TESTS ?=

# What ships; the tests run the same code, built faster (see the profiles in Cargo.toml).
BINARY := target/release/containerd-shim-catena-v1
QUICK := --profile quick --locked --workspace
# The feature of the tests that need a cluster.
KUBERNETES := catena-test/kubernetes
PACKED := target/images

.PHONY: help
help: ## Says what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup
setup: ## Installs what building and testing need (Debian; as root)
	test/scripts/setup.sh

.PHONY: build
build: ## Builds the shim, which is also the command line
	$(CARGO) build --release --locked --workspace --exclude catena-bench --bins
	ln -sf $(notdir $(BINARY)) target/release/catena

.PHONY: guests
guests: ## Builds the example components and the tests' guests
	cd images && $(CARGO) build --release --locked --workspace --exclude first
	cd images && $(CARGO) build --release --locked --target wasm32-wasip1 --package hello --package command --package cgi --package first
	test/scripts/languages.sh

# `wasm` is the form of a single component with nothing around it.
.PHONY: images
images: build guests ## Packs the example apps, in every form, into target/images
	mkdir -p $(PACKED)
	for app in hello chain refused all-triggers; do \
	  for format in rootfs spin; do \
	    $(BINARY) pack -f images/$$app/spin.toml --format $$format -o $(PACKED)/$$app-$$format.tar; \
	  done; \
	done
	$(BINARY) pack -f images/hello/spin.toml --format wasm -o $(PACKED)/hello-wasm.tar

.PHONY: run
run: setup images ## From nothing to an answer of a chained app under containerd (as root)
	target/release/demo

.PHONY: demo
demo: setup images ## Six triggers in one container under containerd, against real servers (as root)
	target/release/triggers

.PHONY: test
test: setup guests ## Runs every test (as root: those of containerd need it)
	$(CARGO) build $(QUICK) --exclude catena-bench --bins
	env --unset=RUST_BACKTRACE $(CARGO) test $(QUICK) --exclude catena-bench --no-fail-fast

.PHONY: test-matrix
test-matrix: setup guests ## The tests of containerd and of pods, against the containerds of later Debians too
	$(CARGO) build $(QUICK) --exclude catena-bench --bins
	folders=$$(test/scripts/containerd-versions.sh) || exit; failed=0; \
	for bin in "" $$folders; do \
	  env --unset=RUST_BACKTRACE $${bin:+CONTAINERD_BIN=$$bin} \
	    $(CARGO) test $(QUICK) --exclude catena-bench --no-fail-fast --test containerd --test cri --test cgroups --test volumes \
	    --test task --test exec --test breakage || failed=1; \
	done; exit $$failed

# On version 1 of cgroups the same programs run as they are: only here does TEST_CGROUPS ask for systemd.
.PHONY: test-cgroup2
test-cgroup2: setup guests ## The tests of containerd and of pods in a virtual machine with cgroup v2 and systemd
	command -v qemu-system-x86_64 mmdebstrap > /dev/null || \
	  apt-get install --yes --quiet --no-install-recommends qemu-system-x86 mmdebstrap e2fsprogs
	$(CARGO) build $(QUICK) --exclude catena-bench --bins
	test/scripts/vm.sh $$($(CARGO) test $(QUICK) --exclude catena-bench --no-run \
	  --test cgroups --test apparmor --test task --test exec --test cri --test breakage --test containerd 2>&1 \
	  | sed -n 's/.*Executable .*(\(.*\))$$/\1/p')

.PHONY: test-k8s
test-k8s: setup guests ## A whole Kubernetes with catena as RuntimeClass; builds it first, once (as root)
	$(CARGO) build $(QUICK) --exclude catena-bench --bins
	test/scripts/kubernetes.sh
	env --unset=RUST_BACKTRACE \
	  $(CARGO) test $(QUICK) --exclude catena-bench --features $(KUBERNETES) --test kubernetes -- $(TESTS)

.PHONY: lint
lint: ## Format, clippy with warnings denied, and deploy/
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(QUICK) --all-targets --features $(KUBERNETES) -- --deny warnings
	cd images && $(CARGO) fmt --all --check
	cd images && $(CARGO) clippy --release --locked --workspace -- --deny warnings
	test/scripts/lint-deploy.sh

.PHONY: deny
deny: ## Licences and known vulnerabilities of the dependencies
	command -v cargo-deny > /dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check

.PHONY: bench
bench: guests ## Measures, and prints the table (after `make baseline` also beside that shim)
	$(CARGO) build --release --locked --workspace --bins
	env --unset=RUST_BACKTRACE target/release/bench

.PHONY: baseline
baseline: ## Builds the shim that the benches compare with (a wasmtime of its own: ten minutes)
	cd test/baseline && $(CARGO) build --release --locked --target-dir ../../target/baseline

.PHONY: fuzz
fuzz: ## Fuzzes every target for FUZZ_SECONDS (needs nightly and cargo-fuzz)
	cd test/fuzz && for target in $$($(CARGO) +nightly fuzz list); do \
	  $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS); \
	done

.PHONY: install
install: build ## Installs the shim, and the link that people type, into PREFIX/bin
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/containerd-shim-catena-v1
	ln -sf containerd-shim-catena-v1 $(DESTDIR)$(PREFIX)/bin/catena

.PHONY: bundle
bundle: build ## Packs the shim with its libraries, for any Linux, into target/bundle
	rm -rf target/bundle
	deploy/bundle.sh $(BINARY) target/bundle

.PHONY: installer
installer: bundle ## Builds the node installer's image: target/catena-installer.tar
	deploy/installer/image.sh target/bundle target/catena-installer.tar

.PHONY: clean
clean: ## Removes all that was built
	$(CARGO) clean
