#!/usr/bin/env bash
# Looks whether a cluster can take an environment, before anything is changed. helmfile runs it.
# usage: preflight.sh COMMAND ENVIRONMENT NEEDS_VOLUMES 'NAMESPACE/SECRET:KEY,KEY ...'
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/tools.sh
command=$1 environment=$2 needs_volumes=$3
read -ra secrets <<<"$4"
case $command in
  apply | sync) ;;
  *) exit 0 ;;
esac
need kubectl https://kubernetes.io/docs/tasks/tools/

version=$(kubectl get --raw /version 2>/dev/null) ||
  fail "no cluster answers at the context $(kubectl config current-context 2>/dev/null || echo '(none is set)'); choose one: kubectl config use-context NAME"
minor=$(sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' <<<"$version")
if [ "${minor:-0}" -lt 31 ]; then
  fail "the cluster runs Kubernetes 1.$minor and the charts need 1.31 or newer; upgrade it"
fi

if [ "$needs_volumes" = true ]; then
  default=$(kubectl get storageclass -o jsonpath='{range .items[*]}{.metadata.annotations.storageclass\.kubernetes\.io/is-default-class}{"\n"}{end}')
  grep -qx true <<<"$default" ||
    fail "the cluster has no default StorageClass, so no volume would be made; mark one: kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true"
fi

missing=()
for secret in "${secrets[@]}"; do
  place=${secret%%:*} keys=${secret#*:}
  namespace=${place%%/*} name=${place#*/}
  # shellcheck disable=SC2016  # the dollars are the template's
  found=$(kubectl --namespace "$namespace" get secret "$name" -o go-template='{{range $key, $value := .data}}{{$key}} {{end}}' 2>/dev/null) || found=
  for key in ${keys//,/ }; do
    [[ " $found" == *" $key "* ]] || missing+=("$place, key $key")
  done
done
if [ ${#missing[@]} -gt 0 ]; then
  printf 'missing: %s\n' "${missing[@]}" >&2
  fail "${#missing[@]} key(s) of secrets of the environment $environment are not there; make them as docs/cluster.md says, in namespaces that exist: kubectl create namespace NAME"
fi
