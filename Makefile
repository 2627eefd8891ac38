# Type `make` to see what there is. The work is done by the scripts in tools/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup sample evaluation-data head quickstart pipeline serve test test-all test-chaos test-cluster test-deep test-unit lint format lock audit s3 stop clean
export PYTHON EXTRA_INDEX LONGSPAN_CACHE RAY_PORT DASHBOARD_PORT HEAD_ARGS ARGS ALL MODEL SERVE_PORT

help: ## show this
	@echo "Longspan: from a short-context model to a long-context one, on one Ray cluster."
	@echo
	@echo "  make quickstart   on a fresh machine: does setup, sample and head, then trains"
	@echo "  make test         the test suite's first tier, a quarter of an hour"
	@echo
	@grep -hE '^[a-z0-9-]+:.*## ' Makefile | awk -F':.*## ' '{ printf "  %-16s %s\n", $$1, $$2 }'
	@echo
	@echo "Variables, after the target (make setup PYTHON=/opt/python3.11/bin/python3.11):"
	@echo "  PYTHON          the Python 3.11 that makes the environment   (found on PATH)"
	@echo "  EXTRA_INDEX     the index that torch's CPU build comes from: PyTorch's CPU wheel index   (pip's own)"
	@echo "  LONGSPAN_CACHE  where downloads and caches go   (.cache)"
	@echo "  RAY_PORT, DASHBOARD_PORT   (6379, 8265, or the next free ones)"
	@echo "  HEAD_ARGS       more options for ray start, such as --num-cpus=4"
	@echo "  MODEL           the model to serve: a folder, s3://..., or a hub name   (the newest here)"
	@echo "  SERVE_PORT      where the chat service listens   (8000)"
	@echo "  ARGS            more options for pytest, such as ARGS='-k order -x', or more values for serve"
	@echo
	@echo "After 'make quickstart', or 'make head', in a shell of your own:"
	@echo "  . ./env.sh && ray job submit -- python jobs/pretrain.py jobs/recipes/quickstart.yaml"

setup: ## build the environment in .venv from constraints/cpu.txt
	@tools/setup.sh

sample: setup ## fetch the sample model and sample corpora into .longspan
	@tools/sample.sh

evaluation-data: setup ## fetch SQuAD 2.0 and HotpotQA (CC BY-SA 4.0) into .longspan/store/evaluation, for probes.files
	@tools/evaluation_data.sh

head: setup ## start a local Ray head with its dashboard (kept if it runs)
	@tools/head.sh start

quickstart: setup ## everything, from nothing to a trained and exported model
	@tools/quickstart.sh

pipeline: setup ## a chat model: the quickstart's, then self-instruct and finetuning (less than an hour)
	@tools/pipeline.sh

serve: setup ## a chat page and an OpenAI API for the newest model here, on this machine alone
	@tools/serve.sh

test: setup ## run the first tier of the tests: each promise once, a quarter of an hour
	@tools/check.sh test

test-all: setup ## run all tests but those of test-cluster
	@tools/check.sh test-all

test-deep: setup ## run the second tier: what test-all runs and test does not
	@tools/check.sh test-deep

test-chaos: setup ## run the tests that kill, stop and starve a job's parts (of the second tier)
	@tools/check.sh test-chaos

test-cluster: setup ## run what test-all leaves out, about an hour: long faults, clusters, and `ray up` on hosts of network namespaces (as root)
	@tools/check.sh test-cluster

test-unit: setup ## run the fast tests: no Ray, no processes
	@tools/check.sh test-unit

lint: setup ## check style, format and types
	@tools/check.sh lint

format: setup ## rewrite the code in the project's format
	@tools/check.sh format

lock: setup ## write the hashes of the pinned packages, after a version was changed in constraints/
	@tools/packages.sh lock

audit: setup ## look up known vulnerabilities of the pinned packages
	@tools/packages.sh audit

s3: setup ## start a local S3 server with the sample corpora in it
	@tools/s3.sh start

stop: ## stop our Ray head and S3 server, and nothing else
	@tools/stop.sh

clean: stop ## remove the environment, caches and Ray's files; ALL=1: samples and runs too
	@tools/clean.sh
