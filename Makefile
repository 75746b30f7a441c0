# The commands of CONTRIBUTING.md; each sets up what is missing.
WHAT ?= all

.PHONY: help check test bench
help:
	@echo "make check | test | bench [WHAT=edit|score|load|scale|gpu|all]"
check:
	./scripts/check.sh
test:
	./scripts/test.sh
bench:
	"$$(./scripts/set_up.sh dev)" scripts/bench.py $(WHAT)
