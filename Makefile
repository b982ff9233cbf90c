# Thin names over `cargo xtask`; every target does its own set-up.
XTASK := cargo xtask

.PHONY: demo down test test-faults drill drill-incident dashboards boards grafana check bench deny
demo: ; @$(XTASK) demo $(if $(KEEP),--keep)
test: ; @$(XTASK) test
test-faults: ; @$(XTASK) test-faults $(ROWS)
drill: ; @$(XTASK) drill
drill-incident: ; @$(XTASK) drill-incident
dashboards: ; @$(XTASK) dashboards
boards: ; @$(XTASK) boards
grafana: ; @$(XTASK) grafana
check: ; @$(XTASK) check
bench: ; @$(XTASK) bench
down: ; @$(XTASK) down
deny: ; @cargo deny check

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
