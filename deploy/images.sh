#!/usr/bin/env bash
# Builds the three images in Docker, for this machine's own platform. Nothing but Docker is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/tools.sh
need_docker
tag=${TAG:-0.1.0}
for target in edge-forwarder hub-consumer mock-service; do
  echo "==> image eventline/$target:$tag"
  # An image with attestations cannot be loaded into kind.
  docker build --provenance=false --file deploy/Dockerfile --target "$target" --tag "eventline/$target:$tag" .
done
