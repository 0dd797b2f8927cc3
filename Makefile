# Needs Python 3.11 or newer, git and make; everything else is installed into .venv.
# PYTHON=/path/to/python3 chooses the Python that .venv is made from.

PYTHONS = python3 python3.14 python3.13 python3.12 python3.11 python
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach p,$(PYTHONS),$(if $(shell $p -c '$(NEW_ENOUGH)' 2>&1 || echo no),,$p)) python3)
IN_ENV = export PATH="$(CURDIR)/.venv/bin:$$PATH" PYTHONUTF8=1;
PAPERMILL = PYTHONPATH=src papermill --engine reproducible --log-level WARNING --no-progress-bar
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USE_PEP517=1 .venv/bin/pip install --quiet
# Threads of several test processes on the same cores soon stop waiting for each other in a busy loop.
PYTEST = GOMP_SPINCOUNT=10000 pytest --numprocesses auto --maxprocesses 4 --dist loadgroup
stop = { echo "make: $(1)" >&2; exit 1; }

.PHONY: help repro reproduced test arithmetic lab site compare claims collect readme bench lock check
.DELETE_ON_ERROR:

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile

repro: .venv/installed ## run the pipeline; PARAMS=params/NAME.yaml first copies that set over params.yaml
	@$(if $(PARAMS),$(IN_ENV) python -m pconv.params "$(PARAMS)")
	@$(IN_ENV) dvc repro
	@$(IN_ENV) PYTHONPATH=src python -m pconv.reproduced

reproduced: .venv/installed ## compare the headline numbers of this run with the committed ones
	@$(IN_ENV) PYTHONPATH=src python -m pconv.reproduced

test: .venv/installed ## run the linter, then the tests
	@$(IN_ENV) ruff check
	@$(IN_ENV) ruff format --check
	@$(IN_ENV) $(PYTEST)

arithmetic: .venv/installed ## run the tests that depend on the processor's arithmetic, by default as without AVX-512
	@$(IN_ENV) export ATEN_CPU_CAPABILITY=$${ATEN_CPU_CAPABILITY:-avx2} ONEDNN_MAX_CPU_ISA=$${ONEDNN_MAX_CPU_ISA:-AVX2} \
		OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}; $(PYTEST) -m arithmetic

lab: .venv/installed ## open JupyterLab; ARGS="--no-browser --port 9999" passes options
	@$(IN_ENV) jupyter lab --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
		$(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

site: .venv/installed ## write the report as static pages into site/; they open from disk, without a server or a network
	@$(IN_ENV) PYTHONPATH=src python -m pconv.site

compare: .venv/installed ## compare the experiments that started from HEAD, or from REV=commit
	@$(IN_ENV) $(PAPERMILL) notebooks/06-compare.ipynb reports/notebooks/06-compare.ipynb $(if $(REV),-r rev $(REV))

claims: .venv/installed ## queue the experiments behind 07-claims; PHOTOGRAPHS=/path/to/folder gives them photographs
	@$(IN_ENV) PYTHONPATH=src python -m pconv.studies.experiments queue \
		$(if $(PHOTOGRAPHS),--photographs "$(PHOTOGRAPHS)")

collect: .venv/installed ## keep in claims/results what the finished experiments measured
	@$(IN_ENV) PYTHONPATH=src python -m pconv.studies.experiments collect

readme: .venv/installed ## write the tables of README.md from the committed metrics
	@$(IN_ENV) PYTHONPATH=src python -m pconv.studies.summary

bench: .venv/installed ## measure speed and memory; PARTIALCONV= and PCONV_KERAS= name references, COMPILE=1 tries torch.compile
	@$(IN_ENV) python benchmarks/masks.py $(if $(PCONV_KERAS),--pconv-keras "$(PCONV_KERAS)")
	@$(IN_ENV) python benchmarks/network.py $(if $(PARTIALCONV),--partialconv "$(PARTIALCONV)")
	@$(IN_ENV) python benchmarks/network.py $(if $(PARTIALCONV),--partialconv "$(PARTIALCONV)") \
		--size 512 --width 64 --depth 8 --batch 2 --turns 5
	@$(IN_ENV) python benchmarks/step.py $(if $(PARTIALCONV),--partialconv "$(PARTIALCONV)") $(if $(COMPILE),--compile)
	@$(IN_ENV) python benchmarks/loading.py
	@$(IN_ENV) python benchmarks/checkpoints.py
	@$(IN_ENV) python benchmarks/figure.py

lock: .venv/installed ## pin the dependencies after an edit of pyproject.toml; UPGRADE=--upgrade updates them
	@$(IN_ENV) uv --version >/dev/null 2>&1 || $(call stop,make lock needs uv: https://docs.astral.sh/uv)
	@$(IN_ENV) uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
		--annotation-style line --extra test --extra build --generate-hashes pyproject.toml -o requirements.lock $(UPGRADE)

.venv/installed: requirements.lock pyproject.toml | check .venv/bin/pip
	@echo "Installing requirements.lock into .venv: about 2 minutes and 6 GB the first time"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/bin/pip: | check
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null || \
		$(call stop,Python 3.11 or newer is missing ($(PYTHON) is not); install it or name it: make PYTHON=/path/to/python3)
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || \
		$(call stop,$(PYTHON) cannot make environments; on Debian and Ubuntu: sudo apt install python3-venv)
	@"$(PYTHON)" -m venv --clear .venv

check:
	@git --version >/dev/null 2>&1 || $(call stop,git is missing; install it from https://git-scm.com/downloads)
	@git rev-parse --git-dir >/dev/null || $(call stop,DVC needs a git repository; get this project with git clone)
