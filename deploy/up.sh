#!/usr/bin/env bash
# `make up`: the platform on whatever this machine has.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/tools.sh
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  exec deploy/kind/up.sh
fi
fail "no Docker answers here, so there is no cluster to make; install Docker, kind, kubectl, Helm and helmfile, or run the same programs without a cluster: make demo KEEP=1"
