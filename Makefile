# make demo       one bundled picture to a 3D object, in out/
# make test       everything that is checked: ruff, mypy, tests, notebooks, a browser
# make quick      ruff, mypy and the fast tests: no browser, no Node.js
# make lint       ruff and mypy alone
# make notebooks  run every notebook from top to bottom and store it trimmed
# make clean      remove out/, builds and caches (the environment .venv stays)
#
# PYTHON=python3.12 make ...    another interpreter for .venv (3.11 or later)
# TORCH_PIP="--index-url https://download.pytorch.org/whl/cpu" make ...    the small CPU build of torch on Linux

PYTHON ?= python3
TORCH_PIP ?=
JOBS ?= 2

VENV := .venv
BESIDE := $(VENV)/beside/triton $(VENV)/beside/opencv-python-headless
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' constraints.txt)
OFFLINE := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 IMAGE3D_MODEL=tiny
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout=120 --nbval-sanitize-with=tests/nbval_sanitize.cfg

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint notebooks clean

help:
	@sed -n '/^# make/s/^# //p' Makefile

demo: $(VENV)/.installed
	@HF_HUB_OFFLINE=1 $(BIN)/image3d generate "$$($(BIN)/python -c 'import image3d_nb; print(image3d_nb.sample("mug"))')" -o out
	@echo "Look at what came out: open $$(find out -name '*.html' | sort | head -n 1) in a browser (it needs no network)."

# One worker a core; a file's tests stay together, because they share a model or a server.
test: lint $(VENV)/.programs $(VENV)/.readers $(VENV)/colab/.installed $(BESIDE)
	@$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder \
		$(NBVAL) tests notebooks

QUICK := public_api rooms cameras gaussians metrics render lgm_head muon files io_registry io_splat io_stl images_prepare
quick: lint
	@$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(QUICK:%=tests/test_%.py)

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

notebooks: $(VENV)/.installed-test
	@$(OFFLINE) $(BIN)/python tools/notebooks.py run

clean:
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache
	find image3d_nb tests tools benchmarks notebooks -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "image3d-nb needs Python 3.11 or later; $(PYTHON) is older: PYTHON=python3.12 make ..."; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# torch comes first and by itself: TORCH_PIP chooses its build, and everything after it finds it there.
$(VENV)/.torch: constraints.txt | $(BIN)/python
	@echo "Installing $(TORCH) (some minutes the first time)"
	@$(PIP) install $(TORCH_PIP) $(TORCH)
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "Installing image3d-nb and what it needs"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "Installing image3d-nb and what its tests need"
	@$(PIP) install -c constraints.txt -e ".[notebook,test]"
	@touch $@ $(VENV)/.installed

# Colab's versions of what a notebook needs; torch is linked from $(VENV).
$(VENV)/colab/.installed: pyproject.toml tests/colab_pins.txt tools/colab.py $(VENV)/.installed-test
	@echo "Making $(VENV)/colab, an environment like Colab's"
	@$(BIN)/python tools/colab.py $(VENV)/colab
	@touch $@

# Beside the environment, for programs that tests start: torch loads Triton, whose kernels need no card to be tested, and
# image3d_nb loads OpenCV wherever they find them.
$(BESIDE): $(VENV)/beside/%: constraints.txt | $(BIN)/python
	@echo "Installing $* beside $(VENV)"
	@rm -rf $@
	@$(PIP) install --no-deps --target $@ $(shell sed -n 's/^\($(@F)==[^ ]*\).*/\1/p' constraints.txt)
	@touch $@

# What pip cannot bring: a browser, and programs that read our files without our code.
PROGRAMS := chromium node npm assimp admesh
PACKAGES := chromium nodejs npm assimp-utils admesh
$(VENV)/.programs: Makefile | $(BIN)/python
	@missing=; set -- $(PACKAGES); for program in $(PROGRAMS); do \
		command -v $$program >/dev/null || { [ $$program = chromium ] && command -v chromium-browser google-chrome >/dev/null; } \
			|| missing="$$missing $$1"; shift; \
	done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi; \
		if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
			echo "Installing$$missing"; \
			$$sudo apt-get update -qq && \
			$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
		else \
			echo "The tests need$$missing: install them (sudo apt-get install$$missing) and run make test again."; exit 1; \
		fi; \
	fi
	@touch $@

$(VENV)/.readers: tests/readers/package.json $(VENV)/.programs
	@echo "Installing other people's readers of our files and scripts"
	@npm install --prefix tests/readers --no-package-lock --no-audit --no-fund --ignore-scripts --silent
	@touch $@
