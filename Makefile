# Thin names over `cargo xtask`; every target does its own set-up.
XTASK := cargo xtask

.PHONY: demo down test check bench deny
demo: ; @$(XTASK) demo $(if $(KEEP),--keep)
test: ; @$(XTASK) test
check: ; @$(XTASK) check
bench: ; @$(XTASK) bench
down: ; @$(XTASK) down
deny: ; @cargo deny check

$(if $(shell command -v cargo),,$(error cargo is missing: install Rust with rustup (https://rustup.rs), then run this again))
$(if $(shell command -v cc),,$(error a C compiler is missing: run `apt-get install -y build-essential`, then run this again))
