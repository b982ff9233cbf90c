# Sourced by the other scripts: which programs there are, and what to do about one that is missing.
# shellcheck shell=bash

fail() {
  echo "error: $*" >&2
  exit 1
}

# need PROGRAM WHERE_TO_GET_IT
need() {
  command -v "$1" >/dev/null || fail "$1 is missing; install it from $2, then run this again"
}

need_docker() {
  need docker https://docs.docker.com/get-docker/
  docker info >/dev/null 2>&1 || fail "Docker does not answer; start it (or: sudo usermod -aG docker $USER, and log in again), then run this again"
}

need_cluster_tools() {
  need kubectl https://kubernetes.io/docs/tasks/tools/
  need helm https://helm.sh/docs/intro/install/
  need helmfile https://helmfile.readthedocs.io/en/latest/#installation
}

