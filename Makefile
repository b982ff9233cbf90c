# Thin names over scripts and `cargo xtask`; every target does its own set-up.
XTASK := cargo xtask
# These need no compiler on this machine: images are built in Docker.
WITHOUT_CARGO := up down images

.PHONY: demo up down images test test-faults test-dashboards drill drill-incident dashboards boards grafana charts check bench deny
demo: ; @$(XTASK) demo $(if $(KEEP),--keep)
up: ; @deploy/up.sh
down: ; @deploy/down.sh
images: ; @deploy/images.sh
test: ; @$(XTASK) test
test-faults: ; @$(XTASK) test-faults $(ROWS)
test-dashboards: ; @$(XTASK) test-dashboards $(SCENES)
drill: ; @$(XTASK) drill
drill-incident: ; @$(XTASK) drill-incident
dashboards: ; @$(XTASK) dashboards
boards: ; @$(XTASK) boards
grafana: ; @$(XTASK) grafana
charts: ; @$(XTASK) charts
check: ; @$(XTASK) check
bench: ; @$(XTASK) bench
deny: ; @cargo deny check

ifneq ($(filter-out $(WITHOUT_CARGO),$(or $(MAKECMDGOALS),demo)),)
# xtask installs what else is missing, but is itself compiled first.
ifeq ($(shell command -v cargo),)
$(error cargo is missing: install Rust with rustup (https://rustup.rs), then run this again)
endif
ifeq ($(shell command -v cc),)
ifeq ($(shell id -u)$(wildcard /etc/debian_version),0/etc/debian_version)
$(info installing a C compiler)
$(shell { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y build-essential; } >&2)
else
$(error a C compiler is missing: run `sudo apt-get install -y build-essential`, then run this again)
endif
endif
endif
