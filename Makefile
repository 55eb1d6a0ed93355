# One command per chore: `make help` lists them. Everything lives in .venv, which is made when there is none.
.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV ?= .venv
# The first of these that runs, is a Python this project supports and can make environments.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	>/dev/null 2>&1 && echo $$p && break; done)
TORCH_VERSION := 2.13.0
# A CUDA build instead: `make serve TORCH_INDEX=https://download.pytorch.org/whl/cu130`
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_BUILD := $(notdir $(TORCH_INDEX))
# Each index, Python and processor has a file of its own: `make serve TORCH_SHA256=…` accepts only the one you name.
TORCH_SHA256 ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# --no-compile: the bytecode of all packages takes as long as the installation itself. COMPILE writes that of serving
# alone, even where PYTHONDONTWRITEBYTECODE is set: a start costs 2.6 s of CPU with it and 5.4 s without.
INSTALL := $(PIP) install --quiet --no-compile
# Installing the service compiles it, too, where there is a compiler.
EXTENSION := setup.py service/runtime/_hot_path.c
COMPILE := PYTHONDONTWRITEBYTECODE= $(PY) -c 'import service.server.server, service.backend.model'
# On Linux the suffix (+cpu) names the build, so that no other index can answer with several gigabytes of CUDA instead.
# macOS has one build only, and no suffix.
TORCH ?= torch==$(TORCH_VERSION)$(if $(filter Linux,$(shell uname -s)),+$(TORCH_BUILD))

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the environment; a stamp says what is installed, so that a second `make` starts at once -------------------------

$(VENV)/.torch-$(TORCH_BUILD): Makefile
	@test -n '$(PYTHON)' || { echo 'Python 3.11, 3.12 or 3.13 (with its venv module) is needed; name one: make PYTHON=…'; exit 1; }
	@test -x $(PY) || { echo 'Creating $(VENV) with $(PYTHON)'; $(PYTHON) -m venv $(VENV); }
	@echo 'Installing $(TORCH) (about 200 MB)'
	@printf '%s\n' '$(TORCH)$(if $(TORCH_SHA256), --hash=sha256:$(TORCH_SHA256))' > $(VENV)/torch.txt
	@$(INSTALL) --no-deps --retries 1 --timeout 15 --index-url $(TORCH_INDEX) --requirement $(VENV)/torch.txt \
		|| $(INSTALL) --no-deps --requirement $(VENV)/torch.txt \
		|| { echo '$(TORCH) is neither at $(TORCH_INDEX) nor where pip looks by itself; name a mirror: make TORCH_INDEX=…/$(TORCH_BUILD)'; exit 1; }
	@rm -f $(VENV)/.torch-* && touch $@

# Every file is compared with its hash. A CUDA build of torch also needs NVIDIA's packages, in the releases it names.
$(VENV)/.serve: $(VENV)/.torch-$(TORCH_BUILD) pyproject.toml requirements.txt $(EXTENSION)
	@echo 'Installing the service'
	@$(INSTALL) --retries 2 --no-deps --require-hashes --requirement requirements.txt
	@test $(TORCH_BUILD) = cpu || $(INSTALL) --retries 2 --constraint constraints.txt '$(TORCH)'
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: $(VENV)/.torch-$(TORCH_BUILD) pyproject.toml constraints.txt $(EXTENSION)
	@echo 'Installing the service, training and the development tools'
	@$(INSTALL) --retries 2 --constraint constraints.txt --editable '.[train,dev]'
	@$(COMPILE)
	@touch $@ $(VENV)/.serve

$(VENV)/.fuzz: $(VENV)/.dev
	@echo 'Installing schemathesis'
	@$(INSTALL) --retries 2 --constraint constraints.txt --editable '.[train,dev,fuzz]'
	@touch $@

$(VENV)/.deploy: $(VENV)/.dev
	@echo 'Installing schemas of Kubernetes'
	@$(INSTALL) --retries 2 --constraint constraints.txt --editable '.[train,dev,deploy]'
	@touch $@

# Everything that some test wants and is skipped without: parquet, the browser's driver, a Kubernetes schema, tracing.
ALL_EXTRAS := train,dev,fuzz,client,nixtla,onnx,parquet,browser,signing,tracing,deploy
$(VENV)/.all: $(VENV)/.dev
	@echo 'Installing every extra'
	@$(INSTALL) --retries 2 --constraint constraints.txt --editable '.[$(ALL_EXTRAS)]'
	@touch $@

.PHONY: install
install: $(VENV)/.dev ## everything for development, into .venv

.PHONY: install-all
install-all: $(VENV)/.all ## the same with every extra, so that no test is skipped for want of one

# --- serving and checking --------------------------------------------------------------------------------------------

.PHONY: serve
serve: $(VENV)/.serve ## start the service on RITMO_HOST:RITMO_PORT (127.0.0.1:8000)
	@exec $(VENV)/bin/ritmo serve

build/clients/.installed: tests/integration/clients/requirements.txt
	$(PYTHON) -m venv build/clients
	build/clients/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@

# Exact releases; their dependencies run in a test alone.
build/clients/node_modules:
	! command -v npm > /dev/null || npm install --prefix build/clients --no-audit --no-fund --silent \
		openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3

.PHONY: clients
clients: build/clients/.installed build/clients/node_modules ## tritonclient, kserve, nixtla, mcp, and a client in TypeScript, for the tests that use them unmodified (make test-slow)

# The bytecode of tests is kept even where PYTHONDONTWRITEBYTECODE is set: to compile it again costs each process 7 s.
TEST := PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n auto

# One process for each CPU; tests of one file stay together, as do files that share a server (tests/conftest.py).
.PHONY: test
test: $(VENV)/.dev ## all tests but the slow ones; PYTEST="-k digits" narrows them
	$(TEST) --dist loadfile --no-loadscope-reorder $(PYTEST)

.PHONY: test-slow
test-slow: $(VENV)/.dev ## the tests marked slow, and those in a browser
	$(TEST) -m '(slow or browser) and not docker and not fuzz' $(PYTEST)

# Seeded: the same seed sends the same; another one is SEED=2. schemathesis is installed for this chore only.
SEED ?= 1
.PHONY: fuzz
fuzz: $(VENV)/.fuzz ## hostile input for every decoder and the whole API, ten minutes; SEED=2 sends other input
	$(PY) -m pytest -n auto -m fuzz --hypothesis-seed=$(SEED) $(PYTEST) tests/fuzz

.PHONY: lint
lint: $(VENV)/.dev ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

.PHONY: types
types: $(VENV)/.dev ## mypy, strict
	$(PY) -m mypy

.PHONY: format
format: $(VENV)/.dev ## mend what ruff can mend
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# --- training: RITMO_DATA, or ../shared/data, holds the data sets; MNIST is fetched where it is absent ---------------

.PHONY: train-forecaster
train-forecaster: $(VENV)/.dev ## a new version of the default forecaster
	$(PY) -m training forecaster $(ARGS)

.PHONY: train-sines
train-sines: $(VENV)/.dev ## a new version of the specialist for the tutorial's sine mixture
	$(PY) -m training sines $(ARGS)

.PHONY: train-digits
train-digits: $(VENV)/.dev ## a new version of the default digit reader
	$(PY) -m training digits $(ARGS)

.PHONY: train-tutorials
train-tutorials: $(VENV)/.dev ## the tutorials' six models, a few minutes
	$(PY) -m training tutorials $(ARGS)

.PHONY: report
report: $(VENV)/.dev ## score every model under models/ and write training/RESULTS.md with its plots
	$(PY) -m training report $(ARGS)

# --- benchmarks: their rows and plots are written to benchmarks/results/ and docs/ --------------------------------

.PHONY: bench-serving
bench-serving: $(VENV)/.dev ## this service against others, with wrk; each of them in an environment of its own
	$(PY) -m benchmarks.serving $(ARGS)

.PHONY: bench-fairness
bench-fairness: $(VENV)/.dev ## a small caller beside eight that send in bulk; ARGS="--model forecaster --values 50"
	$(PY) -m benchmarks.serving.fairness $(ARGS)

.PHONY: bench-versions
bench-versions: $(VENV)/.dev ## throughput beside an earlier version's, five minutes; ARGS="../checkout-of-it"
	$(PY) -m benchmarks.serving.versions $(ARGS)

.PHONY: bench-keys
bench-keys: $(VENV)/.dev ## what an API key costs on the hot path, three services side by side, two minutes
	$(PY) -m benchmarks.serving.key_cost $(ARGS)

.PHONY: bench-forecasting
bench-forecasting: $(VENV)/.dev ## our forecasts beside those of statsforecast's methods; ARGS="--model forecaster@4"
	$(PY) -m benchmarks.forecasting $(ARGS)

.PHONY: bench-digit-numbers
bench-digit-numbers: $(VENV)/.dev ## whole numbers, beside Tesseract where Debian's tesseract-ocr is installed
	$(PY) -m benchmarks.digits.tesseract $(ARGS)

.PHONY: fit-digit-trust
fit-digit-trust: $(VENV)/.dev ## the weights of service/imaging/trust.py, printed
	$(PY) -m benchmarks.digits.trust $(ARGS)

.PHONY: bench-digit-calibration
bench-digit-calibration: $(VENV)/.dev ## is a score of 0.99 right in 99 of 100, on drawn, print, cells, photographs, shadows?
	$(PY) -m benchmarks.digits.calibration $(ARGS)

.PHONY: bench-digit-kinds
bench-digit-kinds: $(VENV)/.dev ## which kinds of pictures are read, and the worst of each
	$(PY) -m benchmarks.digits.kinds $(ARGS)

.PHONY: bench-digits
bench-digits: $(VENV)/.dev ## digit readers, a usual choice among them; the peer is trained when absent, ten minutes
	@test -f build/bench/digits/cnn.pt || $(PY) -m benchmarks.digits.cnn
	$(PY) -m benchmarks.digits $(ARGS)

.PHONY: bench-sensitivity
bench-sensitivity: $(VENV)/.dev ## the image path's parameters, each changed: which of them matter? a quarter of an hour
	$(PY) -m benchmarks.digits.sensitivity $(ARGS)

.PHONY: faults
faults: $(VENV)/.dev ## every known fault against real processes, a quarter of an hour; ARGS="--only R3,R14"
	$(PY) -m benchmarks.faults $(ARGS)

.PHONY: stops
stops: $(VENV)/.dev ## every kind of stop under load, fifty times each: hours; ARGS="--runs 5"
	$(PY) -m benchmarks.faults.stops $(ARGS)

.PHONY: soak
soak: $(VENV)/.dev ## half an hour of all routes, live connections, rude clients and restarts: memory and files stay flat
	$(PY) -m benchmarks.faults.soak $(ARGS)

.PHONY: bench-soak
bench-soak: $(VENV)/.dev ## half an hour of requests of random lengths: does memory grow? ARGS="--minutes 5"
	$(PY) -m benchmarks.serving.soak $(ARGS)

# --- containers ------------------------------------------------------------------------------------------------------

.PHONY: docker-build
docker-build: ## the service's image
	docker compose build

.PHONY: docker-test
docker-test: $(VENV)/.dev ## build, start and question the container: needs a Docker engine
	$(PY) -m pytest -m docker tests/docker

# --- a cluster of Ray, in an environment of its own -------------------------------------------------------------------

build/ray/.ray: requirements.txt deploy/ray/requirements.txt
	$(MAKE) --no-print-directory VENV=build/ray build/ray/.serve
	@echo 'Installing Ray (about 100 MB)'
	@build/ray/bin/python -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt \
		--requirement deploy/ray/requirements.txt
	@touch $@

.PHONY: ray-test
ray-test: build/ray/.ray ## two nodes of Ray in a network of their own: scale, kill, roll; rows in benchmarks/results; needs root
	build/ray/bin/python -m benchmarks.ray $(ARGS)

.PHONY: kubernetes-test
kubernetes-test: $(VENV)/.deploy ## the manifests by Kubernetes' schemas of every release; rows in benchmarks/results; needs kubectl
	$(PY) -m benchmarks.manifests
	$(PY) -m pytest tests/deploy/test_kubernetes.py

# --- housekeeping ----------------------------------------------------------------------------------------------------

.PHONY: constraints
constraints: ## resolve everything anew: constraints.txt, and the hashes in requirements.txt
	rm -rf build/constraints
	$(MAKE) --no-print-directory VENV=build/constraints build/constraints/.torch-$(TORCH_BUILD)
	build/constraints/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[$(ALL_EXTRAS)]'
	{ head -n 1 constraints.txt; build/constraints/bin/python -m pip freeze --all --exclude-editable \
		| grep -vE '^(pip|wheel)==' | sed 's/+cpu$$//'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/constraints
	$(MAKE) --no-print-directory requirements

# torch is left out, since its file differs between indexes, but what it needs is in. Hashes are those of all platforms.
TORCH_NEEDS := filelock fsspec jinja2 networkx setuptools sympy typing-extensions
.PHONY: requirements
requirements: build/supply-chain/.installed ## what is served, pinned as in constraints.txt, with the hash of every file
	$(SUPPLY_CHAIN)/python -c "import tomllib; \
		needs = tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']; \
		print(*[need for need in needs if not need.startswith('torch')], *'$(TORCH_NEEDS)'.split(), sep='\n')" \
		> build/serving.txt
	{ echo '# What is served, and the hash of every file of it; `make requirements` writes this file. torch: see Makefile.'; \
		$(SUPPLY_CHAIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--constraint constraints.txt build/serving.txt; } > build/requirements.txt
	mv build/requirements.txt requirements.txt
	rm build/serving.txt

SUPPLY_CHAIN := build/supply-chain/bin
build/supply-chain/.installed: deploy/supply-chain.txt
	$(PYTHON) -m venv build/supply-chain
	$(SUPPLY_CHAIN)/python -m pip --disable-pip-version-check install --quiet --requirement deploy/supply-chain.txt
	@touch $@

# build/served holds exactly what is served, so that nothing else is in the lists.
.PHONY: sbom
sbom: build/supply-chain/.installed ## CycloneDX bill of materials and licences of what is served: build/sbom.json, build/licences.md
	$(MAKE) --no-print-directory VENV=build/served build/served/.serve
	$(SUPPLY_CHAIN)/cyclonedx-py environment --output-reproducible --validate --pyproject pyproject.toml \
		--output-file build/sbom.json build/served/bin/python
	$(SUPPLY_CHAIN)/pip-licenses --python build/served/bin/python --format markdown --with-urls --order license \
		--ignore-packages pip ritmo --output-file build/licences.md

.PHONY: wheel
wheel: $(VENV)/.dev ## the wheel, in build/wheel; the same bytes whenever and wherever it is built
	deploy/wheel.sh $(abspath $(PY)) build/wheel

.PHONY: audit
audit: build/supply-chain/.installed ## bandit over what is served and shipped
	$(SUPPLY_CHAIN)/bandit --quiet --recursive service ritmo deploy

.PHONY: clean
clean: ## remove the environment, caches and build output
	rm -rf $(VENV) build dist *.egg-info service/runtime/*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find service training tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
