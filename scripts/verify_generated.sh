#!/bin/sh
# Fails if a generated file is not what its source makes of it now.
set -eu
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
mkdir -p "$fresh/stillhouse/v1"
PYTHON=.venv/bin/python sh scripts/generate_protos.sh "$fresh" >"$fresh/log" 2>&1 || { cat "$fresh/log" >&2; exit 1; }
touch "$fresh/stillhouse/v1/__init__.py"
.venv/bin/python -m stillhouse.spec.schema > "$fresh/distillation.schema.json"
.venv/bin/python -m stillhouse.spec.crd --chart > "$fresh/crd.yaml"
.venv/bin/python scripts/make_notebook.py > "$fresh/stillhouse_train.ipynb"
diff -r -x __pycache__ services/stillhouse/v1 "$fresh/stillhouse/v1" || { echo "stubs are stale: make generate" >&2; exit 1; }
diff docs/distillation.schema.json "$fresh/distillation.schema.json" || { echo "schema is stale: make generate" >&2; exit 1; }
diff charts/stillhouse/templates/crd.yaml "$fresh/crd.yaml" || { echo "the CRD is stale: make generate" >&2; exit 1; }
diff notebooks/stillhouse_train.ipynb "$fresh/stillhouse_train.ipynb" || { echo "the notebook is stale: make generate" >&2; exit 1; }
if command -v helm >/dev/null; then
    sh scripts/render_install.sh > "$fresh/install.yaml"
    diff k8s/install.yaml "$fresh/install.yaml" || { echo "k8s/install.yaml is stale: make generate" >&2; exit 1; }
else
    echo "k8s/install.yaml is not compared with the chart: helm is not in PATH"
fi
