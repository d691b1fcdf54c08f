#!/bin/sh
# Applies the quickstart to the current cluster and shows its story until it has ended: `make cluster-demo`.
# Exits with 0 if the student is served, 1 if a gate or a stage failed, 2 if it takes longer than DEMO_SECONDS.
set -eu
cd "$(dirname "$0")/.."
namespace=${NAMESPACE:-stillhouse}
set -- ${CONTEXT:+--context "$CONTEXT"} --namespace "$namespace"
kubectl "$@" apply -f k8s/samples/quickstart.yaml
kubectl "$@" get distillation demo --watch &
watching=$!
trap 'kill $watching 2>/dev/null || true' EXIT
end=$(($(date +%s) + ${DEMO_SECONDS:-3600}))
while [ "$(date +%s)" -lt "$end" ]; do
    sleep 5
    said=$(kubectl "$@" get distillation demo -o jsonpath='{range .status.conditions[?(@.type=="Succeeded")]}{.status} {.message}{end}') || continue
    case $said in
    True*)
        echo "Ask it: kubectl -n $namespace port-forward service/demo 50051, and in another terminal: stillhouse chat localhost:50051"
        exit 0 ;;
    False*)
        echo "It did not succeed: ${said#False }" >&2
        exit 1 ;;
    esac
done
echo "It has not ended within ${DEMO_SECONDS:-3600} s: kubectl -n $namespace describe distillation demo" >&2
exit 2
