# make reproduce   the tables and figures of chapters 03-05, from nothing (preset demo); what is
#                  done is skipped: make reproduce ARGS=--force
# make test        the tests: what CI runs
# make test-browser     listening pages, JupyterLab and docs in a headless Chromium, if there is one
# make test-reproduce   a second run gives the same bytes (preset smoke)
# make types       mypy over the package
# make docs        the documentation as plain HTML with search, in _docs/
PY      ?= python3
BIN     := .venv/bin
PRESET  ?= demo
STAMP   := .venv/installed
CHAPTERS := 03_synthetic_data 04_within_corpus 05_cross_corpus
# threads that wait must sleep, not spin: two processes share the cores
export OMP_WAIT_POLICY := PASSIVE
export EMODIFF_PROGRESS := text
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# the installation compiles nothing: what is imported is compiled once, then, and kept
export PYTHONDONTWRITEBYTECODE :=

.PHONY: reproduce test test-browser test-reproduce types docs install notebooks clean

reproduce: $(STAMP)
	@$(BIN)/python -m emodiff reproduce --preset $(PRESET) $(ARGS)
	@echo "Done: tables and figures in figures/$(PRESET), executed chapters in figures/$(PRESET)/notebooks."

test: $(STAMP)
	@$(BIN)/python tests/run.py

test-browser: $(STAMP)
	@$(BIN)/python tests/browser.py
	@$(BIN)/python tests/lab.py
	@$(BIN)/python tests/docs.py

test-reproduce: $(STAMP)
	@$(BIN)/python tests/reproduce.py smoke

types: $(STAMP)
	@$(BIN)/mypy

docs: $(STAMP)
	@$(BIN)/python docs/build.py

install: $(STAMP)

$(STAMP): constraints.txt settings.ini setup.py
	@test -x $(BIN)/python || $(PY) -m venv .venv
	@$(BIN)/python -c "import sys; sys.exit(sys.version_info < (3, 11))" \
	  || { echo "emodiff needs Python 3.11 or newer: make PY=python3.11"; exit 1; }
	@echo "Installing the pinned environment into .venv (2-4 minutes the first time) ..."
	@$(BIN)/pip install --quiet --no-compile -c constraints.txt -e ".[dev]"
	@$(BIN)/pip check
	@touch $(STAMP)

# maintainers: bring the executed demo chapters back into nbs/
notebooks:
	@$(BIN)/python tools/adopt.py figures/demo/notebooks $(CHAPTERS)

clean:
	rm -rf .venv build dist _docs .mypy_cache *.egg-info data/runs figures/*/notebooks
