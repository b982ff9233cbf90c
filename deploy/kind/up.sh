#!/usr/bin/env bash
# The whole platform on this machine: images, a cluster of kind, and everything in it. Run again it changes what has changed.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/tools.sh
need_docker
need kind https://kind.sigs.k8s.io/docs/user/quick-start/#installation
need_cluster_tools

memory=$(docker info --format '{{.MemTotal}}')
if [ "$memory" -lt $((7 * 1024 * 1024 * 1024)) ]; then
  fail "Docker has $((memory / 1024 / 1024)) MiB of memory and the platform takes about 6 GiB; give it 8 GiB, then run this again"
fi
slots=$(docker run --rm --privileged docker.io/library/busybox:1.37 cat /proc/sys/fs/aio-max-nr)
if [ "$slots" -lt 1048576 ]; then
  echo "raising fs.aio-max-nr of Docker's machine from $slots to 1048576: the brokers need it"
  docker run --rm --privileged docker.io/library/busybox:1.37 sysctl -w fs.aio-max-nr=1048576 >/dev/null
fi

images=(edge-forwarder hub-consumer mock-service)
identities() { docker image inspect --format '{{.Id}}' "${images[@]/#/eventline/}" 2>/dev/null || true; }
images=("${images[@]/%/:0.1.0}")
before=$(identities)
deploy/images.sh
if ! kind get clusters 2>/dev/null | grep -qx eventline; then
  kind create cluster --config deploy/kind/kind.yaml --wait 3m
fi
for image in "${images[@]}"; do
  # `kind load docker-image` fails under Docker's containerd store, which keeps other platforms beside.
  docker image save "eventline/$image" | kind load image-archive --name eventline /dev/stdin
done
kubectl config use-context kind-eventline >/dev/null
# Brings the plugin that `apply` compares with; nothing happens when it is there.
helmfile init --force
helmfile --file deploy/helmfile.yaml --environment local apply
if [ -n "$before" ] && [ "$before" != "$(identities)" ]; then
  # The names have stayed, so nothing else tells the cluster that their content is new.
  kubectl --namespace central-observability rollout restart deployment/hub-consumer
  kubectl --namespace monitoring rollout restart daemonset/edge-forwarder
  kubectl --namespace production rollout restart deployment/mock-service deployment/mock-service-load
fi
deploy/look.sh http://localhost:3000
