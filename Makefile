# Zhujiao. `make` alone lists the targets.
#
#   make run ARGS="--listen 0.0.0.0:8080"    everything after `zhujiao serve`
#
# One build profile (release) serves the binary, the tests and the end-to-end runs. CARGO_TARGET_DIR moves the build,
# ZHUJIAO_MODELS_DIR the model files.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ARGS ?=
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
ZHUJIAO := $(TARGET_DIR)/release/zhujiao
BENCH_MODEL ?= qwen2.5-coder-1.5b
# What is compared with llama.cpp.
PEER_MODELS ?= qwen2.5-coder-1.5b qwen2.5-coder-0.5b
# What the tests load.
TEST_MODELS := smollm2-135m gemma3-270m multilingual-e5-small qwen2.5-coder-0.5b qwen2.5-coder-1.5b
WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print 2>/dev/null)

.PHONY: help run build web test test-rust test-web test-peers test-e2e models bench bench-peers lint fmt check-cuda clean
.PHONY: need-cargo need-node need-pip need-browser need-peers

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build what is stale and serve; ARGS are passed on (ARGS="--listen 0.0.0.0:8080")
	exec $(ZHUJIAO) serve $(ARGS)

build: need-cargo web
	cargo build --release --locked

web: web/dist/index.html ## build the web app (into web/dist, then into the binary)

web/node_modules/.package-lock.json: web/package-lock.json | need-node
	cd web && npm ci --no-audit --no-fund
	touch $@

# The binary embeds web/dist; build.rs makes cargo see a new one.
web/dist/index.html: $(WEB_SOURCES) web/node_modules/.package-lock.json | need-node
	cd web && npm run build

test: test-web test-peers lint models test-rust test-e2e ## all tests, on the real models (pulls what is missing, about 2 GB)

test-web: web
	cd web && npm test

test-peers:
	python3 -m unittest discover --start-directory benches

test-rust: need-cargo web
	cargo test --release --locked

# A teacher's way through the page, in a browser. Screenshots and the server's log are kept in the build folder.
test-e2e: build tests/e2e/node_modules/.package-lock.json need-browser
	ZHUJIAO=$(ZHUJIAO) ZHUJIAO_E2E_OUT=$(TARGET_DIR)/e2e node --test tests/e2e/*.test.mjs

tests/e2e/node_modules/.package-lock.json: tests/e2e/package-lock.json | need-node
	cd tests/e2e && npm ci --no-audit --no-fund
	touch $@

models: build need-pip ## pull the models that the tests load
	for model in $(TEST_MODELS); do $(ZHUJIAO) pull $$model || exit 1; done

lint: need-cargo web ## formatting and clippy, warnings denied
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings

fmt: need-cargo ## format the Rust sources
	cargo fmt

bench: build ## prefill and decode speed, against candle-transformers in the same run
	$(ZHUJIAO) bench --model $(BENCH_MODEL) --reference $(or $(ARGS),--prompt 256 --generate 32)

bench-peers: need-peers build need-pip ## speed and memory against llama.cpp in the same run, into eval/reports (ARGS=--quick: short)
	for model in $(PEER_MODELS) multilingual-e5-small; do $(ZHUJIAO) pull $$model || exit 1; done
	python3 benches/peers.py --zhujiao $(ZHUJIAO) $(PEER_MODELS:%=--model %) $(ARGS)

# By hand and before a release: needs neither a GPU nor an installed CUDA toolkit, but half an hour and more.
check-cuda: need-cargo need-pip ## compile and link the cuda feature with a compiler from Python wheels (CUDA_COMPUTE_CAP=80)
	scripts/check-cuda.sh

clean: ## remove what was built here (not the models)
	rm -rf web/dist web/node_modules tests/e2e/node_modules
	cargo clean

need-cargo:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: install gcc or clang (Debian: apt-get install build-essential cmake)" >&2; exit 1; }

need-node:
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null \
	  || { echo "node is missing or too old: install Node.js 20.19 or newer from https://nodejs.org" >&2; exit 1; }
	@command -v npm >/dev/null || { echo "npm is missing: it comes with Node.js from https://nodejs.org" >&2; exit 1; }

need-pip:
	@python3 -m pip --version >/dev/null 2>&1 || { echo "python3 with pip is missing: install both (Debian: apt-get install python3-pip)" >&2; exit 1; }

need-browser:
	@[ -n "$${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome >/dev/null \
	  || { echo "a browser is missing: install chromium (Debian: apt-get install chromium fonts-noto-cjk) or set CHROMIUM to its path" >&2; exit 1; }

# Before the build: whoever lacks llama.cpp should not have to wait to hear it.
need-peers:
	@python3 benches/peers.py --check
