#!/bin/sh
# Writes k8s/install.yaml to standard output: the chart as objects, for people who have only kubectl.
set -eu
cd "$(dirname "$0")/.."
cat <<'HEADER'
# Written by `make generate` from charts/stillhouse; change it there. Controller, scorer, an emulated teacher and an S3
# server to try things out, in the namespace stillhouse. Make the store's keys first:
#
#   kubectl create namespace stillhouse
#   kubectl -n stillhouse create secret generic stillhouse-store \
#     --from-literal=AWS_ACCESS_KEY_ID=stillhouse --from-literal=AWS_SECRET_ACCESS_KEY="$(openssl rand -hex 20)"
#   kubectl apply --server-side -f k8s/install.yaml
#   kubectl -n stillhouse apply -f k8s/samples/quickstart.yaml
#
# Anything else (your own bucket, Vertex AI, other namespaces) is a value of the chart: charts/stillhouse/README.md.
apiVersion: v1
kind: Namespace
metadata:
  name: stillhouse
  labels:
    pod-security.kubernetes.io/enforce: restricted
HEADER
helm template stillhouse charts/stillhouse --namespace stillhouse --values k8s/install.values.yaml --skip-tests --no-hooks
