# make reproduce   the tables and figures of chapters 03-05, from nothing (preset demo)
# make test        the tests: what CI runs
PY      ?= python3
BIN     := .venv/bin
PRESET  ?= demo
STAMP   := .venv/installed
CHAPTERS := 03_synthetic_data 04_within_corpus 05_cross_corpus
# threads that wait must sleep, not spin: two processes share the cores
export OMP_WAIT_POLICY := PASSIVE
export EMODIFF_PROGRESS := text
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: reproduce test install chapters notebooks clean

reproduce: chapters
	@echo "Done: tables and figures in figures/$(PRESET), executed chapters in figures/$(PRESET)/notebooks."

chapters: $(STAMP)
	@mkdir -p figures/$(PRESET)/notebooks
	@set -e; for c in $(CHAPTERS); do \
	  echo "== $$c"; \
	  $(BIN)/papermill --log-output --no-progress-bar --log-level WARNING \
	    nbs/$$c.ipynb figures/$(PRESET)/notebooks/$$c.ipynb -p preset $(PRESET); \
	done

test: $(STAMP)
	@$(BIN)/python tests/run.py

install: $(STAMP)

$(STAMP): constraints.txt settings.ini setup.py
	@test -x $(BIN)/python || $(PY) -m venv .venv
	@$(BIN)/python -c "import sys; sys.exit(sys.version_info < (3, 11))" \
	  || { echo "emodiff needs Python 3.11 or newer: make PY=python3.11"; exit 1; }
	@echo "Installing the pinned environment into .venv (2-4 minutes the first time) ..."
	@$(BIN)/pip install --quiet --no-compile -c constraints.txt -e ".[dev]"
	@$(BIN)/pip check
	@touch $(STAMP)

# maintainers: bring the executed demo chapters back into nbs/ and the tables into the README
notebooks:
	@$(BIN)/python tests/adopt.py figures/demo/notebooks $(CHAPTERS)
	@$(BIN)/python tests/results.py

clean:
	rm -rf .venv build dist *.egg-info data/runs
