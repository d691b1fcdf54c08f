#!/bin/sh
# Fails if a generated file is not what its source makes of it now.
set -eu
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
mkdir -p "$fresh/stillhouse/v1"
PYTHON=.venv/bin/python sh scripts/generate_protos.sh "$fresh" >/dev/null 2>&1
touch "$fresh/stillhouse/v1/__init__.py"
.venv/bin/python -m stillhouse.spec.schema > "$fresh/distillation.schema.json"
.venv/bin/python -m stillhouse.spec.crd --chart > "$fresh/crd.yaml"
diff -r -x __pycache__ services/stillhouse/v1 "$fresh/stillhouse/v1" || { echo "stubs are stale: make generate" >&2; exit 1; }
diff docs/distillation.schema.json "$fresh/distillation.schema.json" || { echo "schema is stale: make generate" >&2; exit 1; }
diff charts/stillhouse/templates/crd.yaml "$fresh/crd.yaml" || { echo "the CRD is stale: make generate" >&2; exit 1; }
