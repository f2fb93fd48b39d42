# SPDX-License-Identifier: Apache-2.0
#
# `make help` lists the targets. Everything that is missing is installed from
# Debian packages and Go modules; run as root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
TESTFLAGS ?=
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Debian packages, by what needs them.
PACKAGES_SHELL := curl iputils-ping tcpdump
PACKAGES_SERVICES := avahi-daemon busybox-static dnsmasq-base ffmpeg iperf3 isc-dhcp-client ndisc6 nftables openssh-client openssh-server procps radvd socat tayga traceroute unbound
PACKAGES_TEST := xz-utils iproute2 iputils-ping iputils-tracepath qemu-system-x86 $(PACKAGES_SERVICES) $(PACKAGES_SHELL)
PACKAGES_MATRIX := openvswitch-switch wireguard-tools
PACKAGES_GENERATE := clang-14 llvm-14 libbpf-dev linux-libc-dev

# $(call install,PACKAGES): installs those that are not there. Services of theirs
# are not started: tests start their own.
define install
	missing=(); for p in $(1); do dpkg-query -Wf '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || missing+=($$p); done; \
	if (($${#missing[@]})); then echo "installing $${missing[*]}"; \
	[[ -e /usr/sbin/policy-rc.d ]] || { trap 'rm -f /usr/sbin/policy-rc.d' EXIT; install -m 755 /dev/stdin /usr/sbin/policy-rc.d <<<$$'#!/bin/sh\nexit 101'; }; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null; fi
endef

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## build the programs into bin/
	@$(GO) build -ldflags "-X overcast/loader.stamped=$$(git describe --tags --always --dirty 2>/dev/null || true)" -o bin/ ./cmd/...

.PHONY: demo
demo: build ## two hosts, their guests, and a page fetched over IPv6 through the overlay
	@$(GO) run ./test/demo

.PHONY: demo-shell
demo-shell: build ## the demo's lab, left up for looking around
	@$(call install,$(PACKAGES_SHELL))
	@# Not by go run, which calls every end by Ctrl-C a failure.
	@$(GO) build -o build/demo ./test/demo && build/demo -shell

.PHONY: test
test: test-deps lint generate-check ## all tests: lint, regeneration, unit, PROG_RUN, end to end
	$(GO) test $(TESTFLAGS) -race -timeout 10m ./policy/... ./maps/... ./cmd/...
	# A virtual machine beside a flow would starve it: it runs beside what has none.
	$(GO) test $(TESTFLAGS) -p 2 -timeout 15m ./test/kernel ./bpf/... ./loader/... ./test/prog ./test/mutants ./test/lab
	$(GO) test $(TESTFLAGS) -p 1 -timeout 20m ./test/e2e ./test/demo

.PHONY: test-deps
test-deps:
	@$(call install,$(PACKAGES_TEST))

.PHONY: lint
lint: ## gofmt, vet and staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt'ed: $$unformatted"; exit 1; fi
	@$(GO) vet ./... && $(GO) vet -tags matrix ./test/kernel
	@$(GO) run $(STATICCHECK) ./...

.PHONY: generate
generate: generate-deps ## make the generated files anew (BPF objects, drop reasons)
	@PATH=/usr/lib/llvm-14/bin:$$PATH $(GO) generate ./...

.PHONY: generate-deps
generate-deps:
	@$(call install,$(PACKAGES_GENERATE))

.PHONY: generate-check
generate-check: generate-deps ## check that the committed generated files are what generation makes
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	cp -r go.mod go.sum bpf cmd docs loader maps policy test "$$dir"/; \
	(cd "$$dir" && PATH=/usr/lib/llvm-14/bin:$$PATH $(GO) generate ./...); \
	for f in bpf/overcast_bpfel.go bpf/overcast_bpfel.o bpf/drops.go docs/drops.md test/lab/cloud_bpfel.go test/lab/cloud_bpfel.o \
		cmd/overcast-bench/contender_bpfel.go cmd/overcast-bench/contender_bpfel.o; do \
		cmp "$$f" "$$dir/$$f" || { echo "$$f is not what generation makes: run make generate"; exit 1; }; done

.PHONY: bench
bench: build ## measure the fast path against the kernel's VXLAN and no overlay, quickly
	@bin/overcast-bench path --quick

.PHONY: bench-full
bench-full: build ## all of the benchmark, into build/bench: JSON, and pages with plots; an hour or so
	@rm -rf build/bench && mkdir -p build/bench
	@measure() { bin/overcast-bench "$${@:2}" --json build/bench/$$1.json --html build/bench/$$1.html --svg build/bench/$$1.svg | tee build/bench/$$1.txt; }; \
	measure fanout fanout; measure zones fanout --zones 10; measure program program; measure scale scale; measure path path

.PHONY: fuzz
fuzz: ## fuzz the environment documents for a minute
	$(GO) test ./policy -run '^$$' -fuzz FuzzParse -fuzztime 60s

.PHONY: mutants
mutants: test-deps generate-deps ## break the code in listed ways and show that a test fails for each
	@PATH=/usr/lib/llvm-14/bin:$$PATH $(GO) run ./test/mutants $(MUTANTS)

.PHONY: test-kernels
test-kernels: test-deps ## run programs, the demo, PROG_RUN and end-to-end tests on Debian's 6.1 and 6.12 kernels, under qemu
	@$(call install,$(PACKAGES_MATRIX))
	$(GO) test $(TESTFLAGS) -count=1 -timeout 60m -tags matrix ./test/kernel

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build
