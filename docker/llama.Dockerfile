# llama: the student's server, llama.cpp behind gRPC. Pods name the module: python -m stillhouse.student_inference ...
# Build from the repository's root, by docker (BuildKit) or buildah. Package settings (a mirror, certificates, local
# wheels) come from the builder, mounted at /etc/pip.conf and /etc/uv/uv.toml; none is kept.
# CUDA=1 needs LLAMA_INDEX, the address of an index with a CUDA 12 build of the pinned xllamacpp: PyPI has none.
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
COPY requirements/llama.txt requirements/llama-cuda.txt requirements/
ARG CUDA=0
ARG LLAMA_INDEX
RUN mkdir -p /opt/libraries \
    && if [ "$CUDA" = 1 ]; then \
        [ -n "$LLAMA_INDEX" ] || { echo "CUDA=1 needs LLAMA_INDEX, an index with CUDA 12 builds of xllamacpp" >&2; exit 2; }; \
        lock=llama-cuda; index="--index $LLAMA_INDEX"; \
    else lock=llama; index=; fi \
    && /opt/tools/bin/uv pip install -q --python /opt/venv/bin/python --no-deps $index -r requirements/$lock.txt \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib \
    && if [ "$CUDA" = 1 ]; then ln -s /opt/venv/lib/python3.11/site-packages/nvidia/*/lib/*.so* /opt/libraries/; fi

FROM tools AS source
COPY pyproject.toml README.md ./
COPY services services
RUN /opt/tools/bin/uv build -q --wheel --no-build-isolation --python /opt/tools/bin/python -o dist \
    && /opt/tools/bin/uv pip install -q --python /opt/venv/bin/python --no-deps --prefix /opt/app dist/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash -s /opt/app -p /opt/venv /opt/app \
    && chmod -R a+rX /opt/app

FROM ${PYTHON_IMAGE}
COPY --from=openmp /opt/libraries /usr/lib/x86_64-linux-gnu
COPY --from=dependencies /opt/libraries /usr/lib/x86_64-linux-gnu
COPY --from=dependencies /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    USER=stillhouse \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STILLHOUSE_CACHE=/tmp/stillhouse \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /tmp
USER 65532:65532
CMD ["stillhouse", "--help"]
# Last, so that a change of source or revision leaves all else in place.
COPY --from=source /opt/app /opt/venv
ARG VERSION=0 REVISION=unknown
LABEL org.opencontainers.image.title="stillhouse-llama" \
      org.opencontainers.image.description="Stillhouse: the server of a student" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
