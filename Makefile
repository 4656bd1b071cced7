# make book   train the quick start and build the book     make test   lint, unit tests, notebooks, the book in Chromium
# Both set up .venv first; running them again does only what is left to do.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/quickstart
HTML := _build/html/index.html
PDF := _build/glf-book.pdf
# A warning, which any new version of a dependency may bring, keeps no reader from the book; BOOK_STRICT=1 makes it an error.
STRICT := $(if $(BOOK_STRICT),-W -n --keep-going)
CHROMIUM ?= $(firstword $(foreach name,chromium chromium-browser google-chrome-stable google-chrome,$(shell command -v $(name))))

.PHONY: help book pdf test stress bench coverage matrix mutants audit lint format quickstart results clean
help:
	@sed -n '1,2p' Makefile; echo '# make results · make lint · make format · make pdf · make quickstart · make stress · make bench · make coverage · make matrix · make mutants · make audit · make clean'

# The stamp is the last thing written, so an interrupted installation is done again.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is $$($(PYTHON) --version); Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@# An environment that is there keeps its Python: two Pythons in one do not work.
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[book,test]'
	@touch $@

quickstart: $(VENV)/.installed
	$(BIN)/glf train --recipe quickstart --out $(RUN)
	$(BIN)/glf sample $(RUN) --plain-noise

book: quickstart
	rm -rf _build
	$(BIN)/jupyter-book build . $(STRICT)
	@test -s $(HTML) || { echo "the book was not built: $(HTML) is missing"; exit 1; }
	@echo "generated digits: $(RUN)/samples.png, without the flow: $(RUN)/plain-noise.png"
	@echo "book: $(CURDIR)/$(HTML)"

# The whole book as one file for paper, printed by Chromium; a few minutes.
pdf: $(VENV)/.installed
	@test -n "$(CHROMIUM)" || { echo "make pdf needs Chromium: install it, or say where it is: make pdf CHROMIUM=PATH"; exit 1; }
	$(BIN)/jupyter-book build . $(STRICT) --builder custom --custom-builder singlehtml
	@# Its links start at its top folder, so the page has to lie there.
	cp _build/singlehtml/book/intro.html _build/singlehtml/book.html
	@rm -f $(PDF).part
	"$(CHROMIUM)" --headless --no-sandbox --no-pdf-header-footer --generate-pdf-document-outline \
		--virtual-time-budget=300000 --print-to-pdf="$(CURDIR)/$(PDF).part" "file://$(CURDIR)/_build/singlehtml/book.html"
	@test -s $(PDF).part || { echo "Chromium printed nothing: see above"; exit 1; }
	@mv $(PDF).part $(PDF)
	@echo "book: $(CURDIR)/$(PDF)"

# Every table and figure of the book, from data/results, and the notebooks that read these records.
results: $(VENV)/.installed
	$(BIN)/glf report
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
		$(shell grep -l data/results notebooks/*.ipynb)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Up to four files at a time, a core each: a test's threads would be in the way of the other's.
test: lint
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/pytest --nbval --numprocesses=auto --maxprocesses=4 \
		--dist=loadfile --durations=10

# Some 700 faults, about 15 minutes: commands killed, full disks, two at once. `make test` has a few of them.
stress: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m stress

# Time and memory against other libraries, on this machine; about 20 minutes. The tables go into the book.
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks all

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[bench]'
	@touch $@

# Which lines and branches of the module the unit tests run.
coverage: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -q --cov --ignore=notebooks --ignore=tests/browser

# The unit tests with the oldest and the newest dependencies, for each Python that is installed; 5 GB an environment.
matrix: $(VENV)/.tools
	$(BIN)/tox

# Small changes to flows, losses, models, metrics, splits and settings, one by one: do the tests notice?
mutants: $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

# Known vulnerabilities of what is installed; asks PyPI's advisory service.
audit: $(VENV)/.tools
	$(BIN)/pip-audit --skip-editable

$(VENV)/.tools: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check -q mutmut pip-audit tox tox-uv
	@touch $@

clean:
	rm -rf _build runs $(VENV)
