# Everything a reader, a teacher or an author does with the course; `make` lists it.
.DEFAULT_GOAL := help
.PHONY: help setup book check test tidy lab train bench colab-test lock clean course-zip workshop-zip slides publish publish-config
.SILENT:

RUN := .venv/bin/python
BRANCH ?= main
export BRANCH
# What a reader sets is handed on as it stands: neither make nor a shell reads it. Paths
# are made whole by helpers/config.py, wherever a notebook runs.
define as_it_stands
ifdef $(1)
override $(1) := $$(value $(1))
export $(1)
endif
endef
AS_GIVEN := BRAIN_MRI_DATA BRAIN_MRI_WEIGHTS BRAIN_MRI_FIGSHARE BRAIN_MRI_CACHE REPO BRANCH
$(foreach name,$(AS_GIVEN),$(eval $(call as_it_stands,$(name))))
# Another Python's packages, or another place for ours, would be mixed in.
unexport PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_USER
# The course's own programs come first: notebooks start the kernel of this environment.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# TensorFlow's warnings, without its greetings.
export TF_CPP_MIN_LOG_LEVEL ?= 1

help:  ## list what there is (this)
	awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' Makefile

setup:  ## install everything into .venv, as pinned (the others do this first)
	for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	  then exec $$python tools/environment.py $(if $(GPU),--gpu); fi; \
	done; \
	echo "No Python 3.11, 3.12 or 3.13 found as $(or $(PYTHON),python3 or python3.1x)." >&2; \
	echo "Install one, or name it: make book PYTHON=/path/to/python3.12" >&2; exit 2

book: setup  ## build the executed book into _build/html
	$(RUN) -m tools.book

check: setup  ## is my installation right? half a minute, and what to do if not
	$(RUN) -m tools.check

test: setup  ## for authors: all tests of format, helpers, notebooks, the built book
	$(RUN) -m tools.run_tests

tidy: setup  ## for authors: bring the notebooks you changed into the committed form
	$(RUN) -m tools.tidy

lab: setup  ## open the chapters in JupyterLab (GPU=1 installs TensorFlow with CUDA)
	$(RUN) -m jupyterlab chapters $(if $(filter 0,$(shell id -u)),--allow-root)

train: setup  ## images to a model file and a report (BRAIN_MRI_DATA=folder, ARGS=--help)
	$(RUN) -m helpers.train $(ARGS)

bench: setup  ## measure how fast images are read and phantoms drawn, on this machine
	$(RUN) -m tools.bench_input
	$(RUN) -m tools.bench_phantoms

colab-test: setup  ## run chapter 7 with Colab's versions, as if it was uploaded there
	$(RUN) -m tools.colab_test

course-zip: setup  ## pack all that a learner needs into _build/course.zip
	$(RUN) -m tools.pack course

workshop-zip: setup  ## what the 90-minute workshop hands out, into _build/workshop
	$(RUN) -m tools.pack workshop

slides: book  ## slides for two workshops, and paper sheets, into _build/teach
	$(RUN) -m tools.slides

publish: book  ## pack the built book into _build/site.zip for any web host
	$(RUN) -m tools.pack site

publish-config: setup  ## write your repository into buttons and notebooks: REPO=owner/name
	$(RUN) -m tools.publish_config "$$REPO" "$$BRANCH"

lock: setup  ## resolve requirements.in into requirements.lock again (authors)
	.venv/bin/uv pip compile --universal --python-version 3.11 --quiet \
	  --custom-compile-command "make lock" requirements.in -o requirements.lock

clean:  ## remove the environment, the built book and all caches; keep your downloads
	rm -rf .venv _build data/cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
