# slim: every service that neither trains nor runs a model. Pods name the module: python -m stillhouse.SERVICE ...
# Build from the repository's root, by docker (BuildKit) or buildah. Package settings (a mirror, certificates, local
# wheels) come from the builder, mounted at /etc/pip.conf and /etc/uv/uv.toml; none is kept.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS tools
WORKDIR /build
COPY requirements/uv.txt requirements/build.txt requirements/
# Nothing is compiled at run time: the root file system is read-only, and nobody changes a module in an image.
ENV PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_NO_CACHE=1 UV_LINK_MODE=copy
RUN python -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check -q -r requirements/uv.txt -r requirements/build.txt \
    && python -m venv --without-pip /opt/venv

FROM tools AS dependencies
COPY requirements/slim.txt requirements/
# Removed, because nothing here imports it: Vertex AI's clients of another version and its high-level twins, an asynchronous
# twin of the Kubernetes client, the pages of litellm's proxy, tests.
RUN /opt/tools/bin/uv pip install -q --python /opt/venv/bin/python --no-deps -r requirements/slim.txt \
    && cd /opt/venv/lib/python3.11/site-packages \
    && rm -rf google/cloud/aiplatform google/cloud/aiplatform_v1beta1 vertexai agentplatform kubernetes/aio \
        litellm/proxy/_experimental/out litellm/proxy/swagger */tests */*/tests \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

FROM tools AS source
COPY pyproject.toml README.md ./
COPY services services
RUN /opt/tools/bin/uv build -q --wheel --no-build-isolation --python /opt/tools/bin/python -o dist \
    && /opt/tools/bin/uv pip install -q --python /opt/venv/bin/python --no-deps --prefix /opt/app dist/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash -s /opt/app -p /opt/venv /opt/app \
    && chmod -R a+rX /opt/app

FROM ${PYTHON_IMAGE}
COPY --from=dependencies /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    USER=stillhouse \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STILLHOUSE_CACHE=/tmp/stillhouse
WORKDIR /tmp
USER 65532:65532
CMD ["stillhouse", "--help"]
# Last, so that a change of source or revision leaves all else in place.
COPY --from=source /opt/app /opt/venv
ARG VERSION=0 REVISION=unknown
LABEL org.opencontainers.image.title="stillhouse-slim" \
      org.opencontainers.image.description="Stillhouse: every service that neither trains nor runs a model" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
