# Two commands for a newcomer: `make quickstart` (no torch, under five minutes) and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: quickstart test check format house clean

quickstart: .venv/.base
	$(BIN)/labelspace run pipeline

.venv/.base: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e .
	touch $@

house:
	@mkdir -p .house/labelspace
	@for path in core/*; do ln -sfn ../../$$path .house/labelspace/; done
	@for folder in agents prompts finetune recipes configs; do ln -sfn ../../$$folder .house/labelspace/$$folder; done
