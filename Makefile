# `make demo`: from a clean clone to a report.  `make test`: from a clean clone to a tested one.
# Both make .venv first, from the pinned versions of constraints.txt, and again only when that file changes.
.PHONY: setup dev demo test faults lint site clean
PYTEST_WORKERS ?= 2
EXTRAS = arrow,tensorboard,wandb,mlflow,onnx,ray,dev

setup:
	@scripts/setup.sh

dev:
	@scripts/setup.sh $(EXTRAS)

# in folders of its own: what is published in results/ and reports/ stays as it is, and the demo really trains
demo: export REPRO_RESULTS_DIR = demo/results
demo: export REPRO_REPORTS_DIR = demo/reports
demo: setup
	.venv/bin/repro run lrn-ablation --preset smoke --arms lrn-ablation/with-lrn,lrn-ablation/no-lrn
	.venv/bin/repro report lrn-ablation

test: dev
	.venv/bin/python -m pytest -n $(PYTEST_WORKERS)

# the loops over damaged data and results at full length, with a fixed seed: minutes
faults: dev
	.venv/bin/python -m tests.faults

lint: dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# the documentation as pages, with a reference of the Python names
site: dev
	.venv/bin/python -m sphinx -q -W --keep-going -b html -c docs . build/site
	@echo "build/site/docs/index.html"

clean:
	rm -rf .venv demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
