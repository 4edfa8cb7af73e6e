.PHONY: test check ci bench

test:        ## the tests, two at a time
	python -m pytest -n 2

check:       ## lint, format and types
	ruff check . && ruff format --check . && mypy

ci:          ## everything, from a clean virtual environment
	bash .ci/run

bench:       ## the figures that the README quotes
	python benchmarks/run.py all
