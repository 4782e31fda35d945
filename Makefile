# What a user and the CI run. `make help` lists the targets; `make` alone builds.

SHELL      := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS  += --no-print-directory
.DEFAULT_GOAL := build

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Arguments for `make demo`, e.g. make demo ARGS="--moves 6 --wan 50mbit/80ms".
ARGS    ?=
# Of what is random: `make sim` replays that seed alone, `make crash` and `make soak` begin with it (1).
SEED    ?=
# For `make sim`: how many seeds, or a rule to break.
SEEDS   ?= 1000
BREAK   ?=
# For `make crash` and `make soak`: how many cases, 0 for all; how long to soak.
CASES   ?= 0
MINUTES ?= 60

# An older Go fetches the toolchain that go.mod names, through the module proxy.
export GOTOOLCHAIN ?= auto

# Where the pinned linters and code generators are kept, so that they outlive `make clean` and a clone.
TOOLS ?= $(or $(XDG_CACHE_HOME),$(or $(HOME),/root)/.cache)/drover/tools
export TOOLS

GOLANGCI  := $(TOOLS)/golangci-lint
ROOT_ONLY = case $$(id -u) in 0) ;; *) echo "make $@: needs root: it makes namespaces, mounts and cgroups. Run: sudo make $@" >&2; exit 1;; esac

.PHONY: sim sim-breaks matrix build man deb deps demo test test-hosts check lint vuln bench clean proto fmt help tools crash soak

build: ## build bin/drover, one static binary
	@echo "build: bin/drover $(VERSION)"
	@mkdir -p bin
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/drover ./cmd/drover

man: build ## write the manual pages to build/man
	@echo "man: build/man"
	@rm -rf build/man
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) bin/drover man build/man

deb: build ## pack build/drover_VERSION_ARCH.deb
	@echo "deb: packing, some 10 s"
	@configs/package/deb.sh bin/drover $(VERSION) build

deps: ## install what this host lacks (runc, conmon, CRIU, ...), saying what and why
	@configs/deps.sh host

demo: ## move a live Redis around three sites on this machine
	@$(ROOT_ONLY)
	@$(MAKE) deps
	@$(MAKE) build
	bin/drover lab demo $(ARGS)

check: build lint ## build, vet, lint, unit and simulation tests with the race detector; no root
	@echo "check: tests with the race detector"
	@$(GO) test -race -timeout 10m ./...

test: ## every test but matrix and test-hosts: those of check, then those that need root, with real CRIU and namespaces
	@$(ROOT_ONLY)
	@$(MAKE) deps tools
	@$(MAKE) build
	@echo "test: without root, with the race detector"
	@$(GO) test -race -timeout 10m ./...
	@echo "test: with root, one package at a time"
	@$(GO) test -tags root -p 1 -count 1 -timeout 25m $$(configs/root-packages.sh)

test-hosts: ## install the package on two emulated Debian hosts, move a pod, reboot, cut the link, upgrade, purge (10 minutes)
	@$(ROOT_ONLY)
	@configs/deps.sh test-hosts
	@$(MAKE) build
	@CGO_ENABLED=0 $(GO) test -tags hosts -count 1 -timeout 20m -v ./test/hosts

lint: tools ## vet and golangci-lint (import rules included) on all build tags; go.mod is tidy
	@echo "lint: go mod tidy, go vet and golangci-lint"
	@$(GO) mod tidy -diff
	@$(GO) vet -tags root,hosts,matrix ./...
	@$(GOLANGCI) run --allow-serial-runners --build-tags root,hosts,matrix ./...

sim: ## run SEEDS=1000 simulated meshes full of faults; SEED=7 replays one, BREAK=rule breaks a rule and must fail (docs/simulation.md)
	@mkdir -p bin
	@$(GO) build -o bin/simulate ./test/sim/simulate
	@bin/simulate $(if $(SEED),-seed "$(SEED)",-seeds "$(SEEDS)" $(if $(BREAK),-break "$(BREAK)")) $(ARGS)

sim-breaks: ## break each rule of ownership in turn: the simulation must notice every time
	@mkdir -p bin
	@$(GO) build -o bin/simulate ./test/sim/simulate
	@bin/simulate -breaks $(ARGS)

vuln: ## look for known vulnerabilities in what is called (needs the network)
	@configs/deps.sh govulncheck
	@$(TOOLS)/govulncheck ./...

matrix: ## move each of a table of programs by others there and back; prints it, and writes build/matrix.json
	@$(ROOT_ONLY)
	@$(MAKE) deps
	@$(MAKE) build
	@echo "matrix: test/programs"
	@DROVER_MATRIX=$(CURDIR)/build/matrix.json $(GO) test -tags root,matrix -count 1 -timeout 20m -v -run '^TestPrograms$$' ./test/host

crash: ## strike moves at each step with each fault on a real mesh; writes build/crash.json (all: 40 minutes; CASES=10 SEED=1: 3)
	@$(ROOT_ONLY)
	@$(MAKE) deps
	@$(MAKE) build
	@$(GO) build -o build/crash ./test/crash
	@rm -rf build/crash-logs
	build/crash -cases $(CASES) -seed $(or $(SEED),1) -report build/crash.json -logs build/crash-logs

soak: ## move pods and strike at random for MINUTES=60, and look whether anything grows; writes build/soak.json
	@$(ROOT_ONLY)
	@$(MAKE) deps
	@$(MAKE) build
	@$(GO) build -o build/crash ./test/crash
	@rm -rf build/soak-logs
	build/crash -soak $(MINUTES)m -seed $(or $(SEED),1) -report build/soak.json -logs build/soak-logs

bench: ## the benchmarks, side by side with what one would pick instead
	@$(ROOT_ONLY)
	@$(MAKE) deps
	@$(MAKE) build
	@echo "bench: test/bench"
	@$(GO) test -tags root -run '^$$' -bench . -benchmem -timeout 60m ./test/bench/...

proto: ## generate the control API's Go code from its .proto files
	@configs/deps.sh protoc
	@echo "proto: agent/api"
	@PATH="$(TOOLS):$$PATH" $(GO) generate ./agent/api

fmt: tools ## format the Go code
	@$(GOLANGCI) fmt ./...

tools:
	@configs/deps.sh golangci-lint

clean: ## remove what build and the tests made (not what deps installed)
	@echo "clean: bin/, build/ and the cached test results"
	@rm -rf bin build
	@$(GO) clean -testcache

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
