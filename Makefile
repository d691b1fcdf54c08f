# The one front door. `make help` prints what is here.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# uv reads neither pip's find-links nor pip's configuration; hand them on, so that a CPU build of torch is found.
export UV_FIND_LINKS ?= $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null || echo "$(PIP_FIND_LINKS)")
# make setup TORCH_INDEX=URL takes torch from an index of your own choice (a CPU or a CUDA build).
TORCH_INDEX ?=
UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python $(if $(TORCH_INDEX),--index $(TORCH_INDEX) --index-strategy unsafe-best-match)
# Tests run in that many processes; each computes with one thread.
TEST_WORKERS ?= 2
# Where a laptop's runs keep their artifacts; empty: the default of `stillhouse`.
export STILLHOUSE_STORE

# Images are IMAGE_PREFIX/stillhouse-slim:IMAGE_TAG, -torch and -llama.
IMAGE_PREFIX ?= ghcr.io/stillhouse
IMAGE_TAG ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# What builds the images: docker, buildah, or a command that takes `-t TAG -f FILE --build-arg KEY=VALUE DIRECTORY`.
BUILDER ?= docker
# KEY=VALUE...: CUDA=1, KQUANTS=1, LLAMA_INDEX=URL, PYTHON_IMAGE=IMAGE@sha256:DIGEST; docker/ says what they do.
IMAGE_BUILD_ARGS ?=
IMAGES ?= slim torch llama
BUILD_IMAGE = $(if $(filter docker,$(BUILDER)),docker build,$(if $(filter buildah,$(BUILDER)),buildah build,$(BUILDER)))
# Where the chart goes: the namespace, and the kubeconfig's context (empty: the current one).
NAMESPACE ?= stillhouse
CONTEXT ?=
KUBE = $(if $(CONTEXT),--kube-context $(CONTEXT))
# Values of the chart for `make deploy`; a file as well: DEPLOY_OPTIONS="--values my.yaml"
DEPLOY_OPTIONS ?= --set store.development.enabled=true,emulator.enabled=true
KIND_CLUSTER ?= stillhouse

.PHONY: help setup setup-dev demo images test soak test-cluster soak-cluster verify format lock generate clean
.PHONY: deploy cluster-demo undeploy kind-up kind-images kind-deploy kind-demo kind-down

help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/uv: requirements/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11 or say PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/uv.txt
	@touch $@

$(VENV)/.laptop: $(BIN)/uv requirements/laptop.txt pyproject.toml
	$(UV_INSTALL) -r requirements/laptop.txt
	$(UV_INSTALL) --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.laptop requirements/dev.txt
	$(UV_INSTALL) -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.laptop ## Make .venv from the pinned lock (TORCH_INDEX=URL to choose torch's build)
	@echo "stillhouse is installed: $(BIN)/stillhouse --help"

setup-dev: $(VENV)/.dev

demo: setup ## Concepts, an emulated teacher, training, a served student, its report; at most 15 minutes
	$(BIN)/stillhouse run k8s/samples/quickstart.yaml
	@mkdir -p build
	$(BIN)/stillhouse report demo --output build/demo.html

images: ## Build the container images (BUILDER, IMAGE_PREFIX, IMAGE_TAG, IMAGE_BUILD_ARGS, IMAGES, TORCH_INDEX)
	@for family in $(IMAGES); do \
	    echo "$(IMAGE_PREFIX)/stillhouse-$$family:$(IMAGE_TAG)"; \
	    BUILDAH_LAYERS=true $(BUILD_IMAGE) -t $(IMAGE_PREFIX)/stillhouse-$$family:$(IMAGE_TAG) -f docker/$$family.Dockerfile \
	        --build-arg VERSION=$(IMAGE_TAG) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
	        $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) $(foreach pair,$(IMAGE_BUILD_ARGS),--build-arg $(pair)) . \
	        || exit $$?; \
	done

test: setup-dev ## Run the tests (what needs a cluster is left out)
	@echo "make test: the tests of a cluster were not asked for; make test-cluster runs them"
	STILLHOUSE_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not cluster and not soak" -n $(TEST_WORKERS) --dist loadfile

soak: setup-dev ## Run the full counts of what `make test` samples (hours)
	$(BIN)/python -m pytest -m "soak and not cluster" --timeout 7200

# They evict pods and patch nodes: only where a person says that the cluster of KUBECONFIG is for that.
CLUSTER_TESTS = test "$$STILLHOUSE_TEST_CLUSTER" = 1 -a -n "$$KUBECONFIG" || { \
	echo "make: the tests of a cluster evict pods and patch nodes: set KUBECONFIG, and STILLHOUSE_TEST_CLUSTER=1 to say that its cluster is for that" >&2; exit 2; }; \
	IMAGE_PREFIX=$(IMAGE_PREFIX) IMAGE_TAG=$(IMAGE_TAG) $(BIN)/python -m pytest

test-cluster: setup-dev ## Run the tests of a cluster (KUBECONFIG, STILLHOUSE_TEST_CLUSTER=1, images)
	@$(CLUSTER_TESTS) -m "cluster and not soak" --timeout 1200 tests/cluster

soak-cluster: setup-dev ## Run the full counts of what `make test-cluster` samples (half an hour)
	@$(CLUSTER_TESTS) -m "cluster and soak" --timeout 3600 tests/cluster

verify: setup-dev ## Check style, types, walls between services, protos and generated files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	sh scripts/verify_generated.sh

format: setup-dev ## Format the sources
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: setup-dev ## Compile requirements/*.txt anew
	sh scripts/lock.sh

generate: setup-dev ## Write the generated files: protobuf stubs, the spec's JSON schema, the CRD, k8s/install.yaml, the notebook
	PYTHON=$(BIN)/python sh scripts/generate_protos.sh services
	$(BIN)/python -m stillhouse.spec.schema > docs/distillation.schema.json
	$(BIN)/python -m stillhouse.spec.crd --chart > charts/stillhouse/templates/crd.yaml
	$(BIN)/python scripts/make_notebook.py > notebooks/stillhouse_train.ipynb
	if command -v helm >/dev/null; then sh scripts/render_install.sh > k8s/install.yaml; else echo "k8s/install.yaml is left as it is: helm is not in PATH" >&2; fi

deploy: ## Install or upgrade the chart in the current cluster, with a development store and an emulated teacher
	helm upgrade --install stillhouse charts/stillhouse $(KUBE) --namespace $(NAMESPACE) --create-namespace --wait --timeout 5m \
		--set-string image.prefix=$(IMAGE_PREFIX),image.tag=$(IMAGE_TAG) $(DEPLOY_OPTIONS)

cluster-demo: ## Apply the quickstart to the current cluster and show its story
	CONTEXT=$(CONTEXT) NAMESPACE=$(NAMESPACE) sh scripts/cluster_demo.sh

undeploy: ## Uninstall the chart; Distillations, students and artifacts stay, and it says how to remove them
	helm get notes stillhouse $(KUBE) --namespace $(NAMESPACE)
	helm uninstall stillhouse $(KUBE) --namespace $(NAMESPACE) --wait

kind-up: ## Start a cluster of containers on this machine (needs kind and docker or podman)
	kind get clusters 2>/dev/null | grep -qx $(KIND_CLUSTER) || kind create cluster --name $(KIND_CLUSTER) --config k8s/kind.yaml --wait 3m

kind-images: ## Put the images that `make images` built onto kind's node
	for family in slim torch llama; do kind load docker-image --name $(KIND_CLUSTER) $(IMAGE_PREFIX)/stillhouse-$$family:$(IMAGE_TAG) || exit 1; done

kind-deploy: ## make deploy on kind
	$(MAKE) deploy CONTEXT=kind-$(KIND_CLUSTER)

kind-demo: kind-up kind-images kind-deploy ## All of it on kind: cluster, images, chart, quickstart
	$(MAKE) cluster-demo CONTEXT=kind-$(KIND_CLUSTER)

kind-down: ## Remove kind's cluster, with everything in it
	kind delete cluster --name $(KIND_CLUSTER)

clean: ## Remove the virtual environment and caches of this checkout
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build
