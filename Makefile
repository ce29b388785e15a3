# Daily commands. `make help` lists them.
#
#   PROFILE=release      run and demo with full optimisation (the default, dev, is optimised where it is hot)
#   ARGS="..."           extra arguments for run, demo, bench-operator, bench-freshness, bench-index, bench-server and bench-data
#   SEEDS=n              how many schedules the protocol simulation tries
#   FAULTS=n             how many processes test-histories kills or stops
#   CARGO_FLAGS=--locked refuse to change Cargo.lock, as CI does
#   VENV=dir             where the Python of client and chart tests lives (default .venv)
#   BENCH_VENV=dir       where the engines that bench-index compares with live (default .venv-bench)
#   BENCH_SERVER_VENV=dir
#                        where the databases that bench-server compares with live (default .venv-bench-server)
#   BRAINY_BENCH_DATA=dir
#                        a folder that has the data set wordnet-minilm (default: what `make bench-data` made)
#   VERSION=tag          tag of the images (default: the version in Cargo.toml)
#   BRAINY_CACHE=dir     where tools are kept between builds (default ~/.cache/brainy)
#   KUBEBUILDER_ASSETS=dir
#                        where the tests find a control plane (default: built from pinned sources into BRAINY_CACHE)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PATH := $(HOME)/.cargo/bin:$(PATH)

PROFILE ?= dev
ARGS ?=
SEEDS ?= 1000
FAULTS ?= 8
CARGO_FLAGS ?=
VENV ?= .venv
BENCH_VENV ?= .venv-bench
FUZZ_TARGETS ?= archive documents grpc log requests segment wire
FUZZ_SECONDS ?= 60

TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN = $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
CARGO ?= cargo
CRD := crds/brainycluster.yaml

BRAINY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/brainy
export BRAINY_CACHE
TOOLS := $(BRAINY_CACHE)/tools
DENY_VERSION := 0.20.2
DENY := $(TOOLS)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
PYTHON := $(VENV)/bin/python
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
REVISION := $(shell git rev-parse HEAD 2>/dev/null)
# Without a user name or token that the address may carry.
SOURCE := $(shell git remote get-url origin 2>/dev/null | sed 's|//[^/@]*@|//|')
IMAGES := brainyd brainy-operator brainy-s3
VENV_READY := $(VENV)/.complete
NODE_READY := tests/clients/js/node_modules/.complete
BENCH_READY := $(BENCH_VENV)/.complete
BENCH_SERVER_VENV ?= .venv-bench-server
BENCH_SERVER_READY := $(BENCH_SERVER_VENV)/.complete

## Use

.PHONY: run
run: build ## Start a small cluster on this machine (Ctrl-C stops it)
	exec $(BIN)/brainy-operator local -f examples/quickstart.yaml $(ARGS)

.PHONY: demo
demo: build ## Show a cluster at work: search, a killed writer, a handover, nothing lost
	exec $(BIN)/brainy-demo $(ARGS)

.PHONY: self-coordinated
self-coordinated: build ## Show ten nodes without an operator: an election, three kills, a departure, nothing lost
	exec $(BIN)/brainy-self-coordinated $(ARGS)

.PHONY: build
build: setup-build ## Build all programs
	$(CARGO) build $(CARGO_FLAGS) --profile $(PROFILE) --workspace --bins

.PHONY: setup
setup: ## Check what this machine lacks, install it where that is possible
	@scripts/setup.sh

.PHONY: setup-build
setup-build:
	@scripts/setup.sh build

## Test

# Every target selects the whole workspace: Cargo then sees the same features each time and compiles a crate once.
.PHONY: test
test: override PROFILE = dev
test: venv build controlplane ## The whole ladder: unit, simulation, processes, S3, Kubernetes, charts, then the clients of Qdrant
	PATH="$(abspath $(VENV))/bin:$$PATH" $(CARGO) test $(CARGO_FLAGS) --workspace
	$(MAKE) chart-test
	$(MAKE) bench-test
	$(MAKE) test-image
	$(MAKE) test-clients
	$(MAKE) test-openapi

.PHONY: test-unit
test-unit: setup-build ## Only the tests inside the crates: seconds
	$(CARGO) test $(CARGO_FLAGS) --workspace --lib --bins

.PHONY: test-clients
test-clients: override PROFILE = dev
test-clients: venv build $(NODE_READY) ## Unmodified clients of Qdrant against a local cluster, or against BRAINY_URL
	BRAINY_OPERATOR="$(abspath $(BIN))/brainy-operator" BRAINY_GO="$$(scripts/controlplane.sh go)" $(PYTHON) -m pytest tests/clients

.PHONY: test-openapi
test-openapi: override PROFILE = dev
test-openapi: venv build ## Requests made up from the API's OpenAPI document: two minutes; OPENAPI_SECONDS=, OPENAPI_SEED=
	BRAINYD="$(abspath $(BIN))/brainyd" $(PYTHON) -m pytest tests/openapi

.PHONY: chart-test
chart-test: venv ## The Helm charts, rendered for many values
	$(PYTHON) -m pytest tests/charts

.PHONY: bench-test
bench-test: venv ## The arithmetic of bench-index and bench-server: interpolation, recall, tables
	$(PYTHON) -m pytest bench/index/tests bench/server/tests

.PHONY: test-image
test-image: override PROFILE = dev
test-image: venv build ## What `make image-tar` writes
	BRAINY_BIN="$(abspath $(BIN))" $(PYTHON) -m pytest tests/images

.PHONY: e2e
e2e: venv ## The scenarios on the Kubernetes that KUBECONFIG names, with the images of this version (docs/kind.md)
	PATH="$(abspath $(VENV))/bin:$$PATH" CARGO_FLAGS="$(CARGO_FLAGS)" scripts/e2e.sh $(ARGS)

.PHONY: e2e-node
e2e-node: image-tar ## The same on a real one-node Kubernetes of its own; needs root; a failed run leaves it up
	BRAINY_IMAGES="$(TARGET)/images.tar" scripts/e2e-node.sh run
	scripts/e2e-node.sh down

.PHONY: controlplane
controlplane: ## Build the Kubernetes that tests run against: once per version, ten minutes on two cores
	@scripts/setup.sh test
	@scripts/controlplane.sh

.PHONY: test-sim
test-sim: setup-build ## Simulate the protocols under faults, SEEDS=1000
	BRAINY_SIM_SEEDS=$(SEEDS) $(CARGO) test $(CARGO_FLAGS) --workspace --test simulation -- --nocapture

.PHONY: test-histories
test-histories: override PROFILE = dev
test-histories: build ## Judge what clients of a cluster see while processes are killed and stopped, FAULTS=8
	BRAINY_FAULTS=$(FAULTS) $(CARGO) test $(CARGO_FLAGS) --workspace --test histories -- --nocapture

.PHONY: sim-long
sim-long: ## The same with SEEDS=100000, before a release
	$(MAKE) test-sim SEEDS=100000

# Not into the folder of the other builds: these crates are compiled in another way (fuzz/rustc.sh).
.PHONY: fuzz
fuzz: setup-build ## libFuzzer on what Brainy reads, FUZZ_SECONDS=60 for each of FUZZ_TARGETS (fuzz/README.md)
	RUSTC_WRAPPER="$(abspath fuzz/rustc.sh)" $(CARGO) build --locked --manifest-path fuzz/Cargo.toml \
	    --target-dir "$(abspath $(TARGET))/fuzz" --bins
	cd fuzz; mkdir -p artifacts; for target in $(FUZZ_TARGETS); do \
	    mkdir -p found/$$target; \
	    "$(abspath $(TARGET))/fuzz/debug/$$target" -max_total_time=$(FUZZ_SECONDS) -timeout=60 -rss_limit_mb=4096 \
	        -malloc_limit_mb=1024 -artifact_prefix=artifacts/$$target- found/$$target corpus/$$target; \
	done

.PHONY: lint
lint: setup-build $(DENY) ## Format, clippy, documentation, dependencies, charts; warnings are errors
	$(CARGO) metadata --locked --format-version 1 >/dev/null
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(CARGO_FLAGS) --workspace --no-deps
	$(DENY) --log-level warn check --hide-inclusion-graph bans licenses sources
	$(MAKE) chart-lint

.PHONY: chart-lint
chart-lint: venv ## Helm's own check of the charts; whether what is made from values and CRD is current
	$(PYTHON) scripts/chart_docs.py --check
	helm=$$(scripts/helm.sh) && "$$helm" lint --strict --quiet charts/brainy-operator && \
	    "$$helm" lint --strict --quiet charts/brainy-cluster --values charts/brainy-cluster/ci/s3-values.yaml

## Package

.PHONY: image
image: ## Container images by Docker: brainyd, brainy-operator, brainy-s3
	for name in $(IMAGES); do \
	    docker build --target $$name --tag $$name:$(VERSION) --build-arg VERSION=$(VERSION) \
	        --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE) .; \
	done

.PHONY: image-tar
image-tar: build ## The same images as one archive, without Docker and without pulling anything
	scripts/image.py --tar $(TARGET)/images.tar --tag $(VERSION) --revision "$(REVISION)" --source "$(SOURCE)" \
	    $(addprefix $(BIN)/,$(IMAGES))

.PHONY: kind-load
kind-load: ## Put the images of `make image` onto the nodes of the kind cluster `brainy`
	kind load docker-image --name brainy $(addsuffix :$(VERSION),$(IMAGES))

## Measure

.PHONY: bench
bench: setup-build ## Kernels, search, building and merging, each beside what it is compared with
	$(CARGO) bench $(CARGO_FLAGS) --workspace --profile $(PROFILE) --bench engine --bench kernels --bench dense --bench sparse

.PHONY: bench-filter
bench-filter: setup-build ## Searches under filters: plan, recall and time at selectivities from 0.1% to 50%
	$(CARGO) bench $(CARGO_FLAGS) --workspace --profile $(PROFILE) --bench filter -- $(ARGS)

.PHONY: bench-operator
bench-operator: PROFILE = release
bench-operator: build controlplane ## The operator: planner, time to Ready, requests per change, memory at 500 clusters
	exec $(BIN)/brainy-bench-operator $(ARGS)

.PHONY: bench-freshness
bench-freshness: PROFILE = release
bench-freshness: setup ## How soon every reader sees a write, by method of coordination: five minutes
	$(CARGO) build $(CARGO_FLAGS) --profile $(PROFILE) --package brainy-dataplane --package brainy-operator --package brainy-tests --bins
	exec $(BIN)/brainy-bench-freshness --write $(ARGS)

.PHONY: bench-exchange
bench-exchange: PROFILE = release
bench-exchange: setup-build ## How soon another cluster sees a write, by poll interval: three minutes
	$(CARGO) build $(CARGO_FLAGS) --profile $(PROFILE) --package brainy-dataplane --package brainy-embedded-s3 --package brainy-tests --bins
	exec $(BIN)/brainy-bench-exchange --write $(ARGS)

# Not the suites, whose release build takes ten minutes more.
.PHONY: bench-coordination
bench-coordination: PROFILE = release
bench-coordination: setup-build ## Coordination: time above a bare request at 0 to 100 ms, requests and dollars of a cluster of 3+3
	$(CARGO) build $(CARGO_FLAGS) --profile $(PROFILE) --package brainy-dataplane --package brainy-operator --package brainy-tests --bins
	exec $(BIN)/brainy-bench-coordination --write $(ARGS)

.PHONY: bench-config
bench-config: PROFILE = release
bench-config: setup-build ## Shared configuration: from the acknowledgement to 50 nodes, pushed and polled
	$(CARGO) build $(CARGO_FLAGS) --profile $(PROFILE) --package brainy-dataplane --package brainy-tests --bins
	exec $(BIN)/brainy-bench-config --write $(ARGS)

.PHONY: bench-modes
bench-modes: PROFILE = release
bench-modes: setup-build ## A writer and a reader beside a hybrid: searches, writes, and both at once, as ratios
	$(CARGO) build $(CARGO_FLAGS) --profile $(PROFILE) --package brainy-dataplane --package brainy-operator --package brainy-tests --bins
	exec $(BIN)/brainy-bench-modes --write $(ARGS)

# Only its own crates, which link little: a release build of the whole workspace takes ten minutes.
.PHONY: bench-index
bench-index: setup-build $(BENCH_READY) ## The index against hnswlib, faiss, usearch and hnsw_rs: tables and plots into docs
	$(CARGO) build $(CARGO_FLAGS) --release --package brainy-index-bench
	$(BENCH_VENV)/bin/python bench/index/run.py --worker "$(TARGET)/release/brainy-index-bench" $(ARGS)

# Not the test programs, whose release build takes ten minutes more.
.PHONY: bench-server
bench-server: setup-build $(BENCH_SERVER_READY) ## brainyd over HTTP against LanceDB, Chroma, Milvus Lite and Qdrant Edge: tables into docs
	$(CARGO) build $(CARGO_FLAGS) --release --package brainy-dataplane --package brainy-operator --package brainy-server-bench --bins
	$(BENCH_SERVER_VENV)/bin/python bench/server/run.py --programs "$(TARGET)/release" $(ARGS)

.PHONY: bench-data
bench-data: $(BENCH_READY) ## Make the data set wordnet-minilm for it: ten minutes on two cores
	$(BENCH_VENV)/bin/python bench/index/make_data.py $(ARGS)

## Maintain

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: crd
crd: build ## Write the CRD's YAML and its reference from the Rust types
	$(BIN)/brainy-operator crd > $(CRD).new
	mv $(CRD).new $(CRD)
	UPDATE_GOLDEN=1 $(CARGO) test $(CARGO_FLAGS) --workspace --test reference
	$(MAKE) chart-docs

.PHONY: openapi
openapi: setup-build ## Write docs/reference/openapi.json, the API's description, from the code
	UPDATE_GOLDEN=1 $(CARGO) test $(CARGO_FLAGS) --workspace --test api_http openapi::

.PHONY: chart-docs
chart-docs: venv ## Write the charts' schemas, READMEs and CRD from values.yaml and the CRD's YAML
	$(PYTHON) scripts/chart_docs.py

.PHONY: venv
venv: $(VENV_READY) ## Make the Python environment of the client and chart tests

.PHONY: clean
clean: ## Remove what was built here (tools in BRAINY_CACHE stay)
	$(CARGO) clean
	rm -rf $(VENV) $(BENCH_VENV) $(BENCH_SERVER_VENV) $(dir $(NODE_READY)) .brainy .pytest_cache

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} /^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(VENV_READY): tests/clients/requirements.txt tests/clients/integrations.txt tests/openapi/requirements.txt
	@scripts/setup.sh test
	python3 -m venv --clear $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps $(addprefix --requirement ,$^)
	$(PYTHON) -m pip --disable-pip-version-check check
	touch $@

$(NODE_READY): tests/clients/js/package.json tests/clients/js/package-lock.json
	@scripts/setup.sh clients
	cd tests/clients/js && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# hnswlib is compiled for the processor of this machine, by the pinned packages and not by what pip would fetch for it.
$(BENCH_READY): bench/index/requirements.txt
	@scripts/setup.sh bench
	python3 -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    $$(sed -n '/^# for the build/,$$p' $< | grep '==')
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	    --no-cache-dir --no-binary hnswlib --requirement $<
	$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check check
	touch $@

$(BENCH_SERVER_READY): bench/server/requirements.txt
	@scripts/setup.sh bench
	python3 -m venv --clear $(BENCH_SERVER_VENV)
	$(BENCH_SERVER_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	$(BENCH_SERVER_VENV)/bin/python -m pip --disable-pip-version-check check
	touch $@

# Unoptimised: it builds in a third of the time and checks this workspace in two seconds all the same.
$(DENY): | setup-build
	$(CARGO) install --quiet --locked --debug --version $(DENY_VERSION) --root $(TOOLS)/cargo-deny-$(DENY_VERSION) \
	    --target-dir $(TOOLS)/build cargo-deny
	rm -rf $(TOOLS)/build
