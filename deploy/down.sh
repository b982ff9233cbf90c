#!/usr/bin/env bash
# `make down`: ends whatever is up, the demo or a cluster. Nothing of it stays.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -x target/quick/demo ]; then
  target/quick/demo --down
fi
if command -v kind >/dev/null && kind get clusters 2>/dev/null | grep -qx eventline; then
  kind delete cluster --name eventline
fi
