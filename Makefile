# Everything here sets itself up on a fresh machine: `make demo`, `make test`, `make lint`.
PYTHON ?= python3
DEMO_PORT ?= 8000
export PIP_DISABLE_PIP_VERSION_CHECK = 1

NEWEST := .venv
OLDEST := .venv-oldest
OLDEST_CELERY := .venv-celery
DOCS := .venv-docs
RELEASE := .venv-release
PYTEST_ARGS ?=
SOAK_MINUTES ?= 10
REPOSITORY ?=
CONSTRAINTS ?=
PINNED = $(CONSTRAINTS:%=-c %)
export SOAK_MINUTES
COVERED := tests/unit tests/scenarios tests/plugin
TOGETHER := tests/unit tests/scenarios tests/plugin tests/readme tests/matrix/test_table.py

.DEFAULT_GOAL := help
PROMETHEUS_PORT ?= 9090

.PHONY: bench check constraints coverage coverage-quick debian demo demo-celery drills docs matrix mutation pictures prometheus dashboards quick release screenshots soak test test-together test-alone test-celery test-celery-oldest test-oldest test-oldest-together test-oldest-alone lint format clean help

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(NEWEST)/demo.stamp  ## run the example shop and watch its background tasks being accounted for
	@$(NEWEST)/bin/python -m examples.demo --port $(DEMO_PORT)

demo-celery: $(NEWEST)/demo-celery.stamp  ## the same with two Celery workers, one of which is killed: one account over all
	@.ci/debian-packages redis-server
	@$(NEWEST)/bin/python -m examples.demo.with_celery --port $(DEMO_PORT)

prometheus: debian $(NEWEST)/test.stamp  ## Debian's Prometheus, with the rules, against the running demo
	@$(NEWEST)/bin/python -m dashboards.prometheus.serve --target 127.0.0.1:$(DEMO_PORT) --port $(PROMETHEUS_PORT)

# Nothing from Debian, no processes of its own; each file stays in one worker, where a scenario is played bare once.
quick: check  ## the quick half of lint, and unit tests, in about a minute: what to run after each change
	$(NEWEST)/bin/python -m pytest -q -n 4 --dist loadfile -m "not slow" $(TOGETHER) $(PYTEST_ARGS)

# First what computes, on all cores. Then what waits, for servers, scrapes and alerts: one by one, since the live
# alerts want the machine for themselves, and beside it the rest of the oldest and Celery, which speak at the end.
test: debian $(NEWEST)/test.stamp $(OLDEST)/test.stamp  ## all tests, on the newest and the oldest supported FastAPI
	@mkdir -p .build
	@$(MAKE) --no-print-directory test-together; together=$$?; \
	$(MAKE) --no-print-directory test-oldest-together; older=$$?; \
	{ $(MAKE) --no-print-directory test-oldest-alone; oldest=$$?; $(MAKE) --no-print-directory test-celery && exit $$oldest; } \
		>.build/beside.log 2>&1 & beside=$$!; \
	trap 'kill $$beside' INT TERM; \
	$(MAKE) --no-print-directory test-alone; alone=$$?; \
	wait $$beside; beside=$$?; \
	cat .build/beside.log; \
	exit $$((together || older || alone || beside))

test-together: $(NEWEST)/test.stamp
	$(NEWEST)/bin/python -m pytest -n 4 --dist loadfile $(TOGETHER) $(PYTEST_ARGS)

test-alone: debian $(NEWEST)/test.stamp
	$(NEWEST)/bin/python -m pytest $(TOGETHER:%=--ignore=%) --ignore=tests/celery $(PYTEST_ARGS)

test-celery: debian $(NEWEST)/test.stamp
	$(NEWEST)/bin/python -m pytest -o cache_dir=.build/celery-cache tests/celery $(PYTEST_ARGS)

# a part of it: make test-celery-oldest PYTEST_ARGS='-k chain'
test-celery-oldest: debian $(OLDEST_CELERY)/test.stamp  ## the tests of Celery's tasks again, on the oldest Celery that is supported (ten minutes)
	$(OLDEST_CELERY)/bin/python -m pytest -o cache_dir=.build/oldest-celery-cache tests/celery $(PYTEST_ARGS)

# What depends on no version of FastAPI, or takes minutes to be sure of our own books: once is enough.
OLDEST_LEAVES_OUT := --ignore=tests/dashboards --ignore=tests/console --ignore=tests/benchmarks --ignore=tests/wheel \
	--ignore=tests/soak --ignore=tests/fire --ignore=tests/celery --ignore=tests/scenarios/test_load.py \
	--ignore=tests/workers/test_lost_under_load.py --ignore-glob='tests/workers/test_*kills.py' \
	--ignore=tests/workers/test_console.py --ignore=tests/workers/test_bad_files.py \
	--ignore-glob='tests/unit/test_journal_*' --ignore-glob='tests/unit/test_views*' --ignore-glob='tests/unit/test_cli*'

test-oldest: test-oldest-together test-oldest-alone

test-oldest-together: $(OLDEST)/test.stamp
	$(OLDEST)/bin/python -m pytest -o cache_dir=.build/oldest-cache -n 4 --dist loadfile $(OLDEST_LEAVES_OUT) \
		$(TOGETHER) $(PYTEST_ARGS)

test-oldest-alone: $(OLDEST)/test.stamp
	$(OLDEST)/bin/python -m pytest -o cache_dir=.build/oldest-cache $(OLDEST_LEAVES_OUT) \
		$(TOGETHER:%=--ignore=%) $(PYTEST_ARGS)

coverage: debian $(NEWEST)/test.stamp  ## the newest's tests again, slower: which lines and branches they reach
	@rm -f .coverage .coverage.*
	$(NEWEST)/bin/python -m coverage run -m pytest $(PYTEST_ARGS)
	@$(NEWEST)/bin/python -m coverage combine -q && $(NEWEST)/bin/python -m coverage report

# the floor is fail_under in pyproject.toml: what a part of the tests reaches, the whole of them reaches, too
coverage-quick: $(NEWEST)/test.stamp  ## the same of what needs no server: fails below the floor that pyproject.toml has
	@rm -f .coverage .coverage.*
	$(NEWEST)/bin/python -m coverage run -m pytest -q -n 4 --dist loadfile -m "not slow" $(COVERED) $(PYTEST_ARGS)
	@$(NEWEST)/bin/python -m coverage combine -q && $(NEWEST)/bin/python -m coverage report

bench: $(NEWEST)/bench.stamp  ## what it costs, against bare, hand-written and the peers (some minutes)
	$(NEWEST)/bin/python -m tests.benchmarks

# three runs of so many minutes: make soak SOAK_MINUTES=2
soak: $(NEWEST)/test.stamp  ## ten minutes at full speed on two workers, three times: memory flat, account exact
	$(NEWEST)/bin/python -m tests.soak

# a part of it: make matrix CELLS=logfire,trio
matrix: $(NEWEST)/test.stamp  ## beside each peer, on each runtime, in environments of their own (a quarter of an hour)
	$(NEWEST)/bin/python -m tests.matrix $(CELLS)

# goes on where it was stopped; a part of it: make mutation MUTANTS='afterword._ledger.runs.*'
mutation: $(NEWEST)/mutation.stamp  ## change the error path and the ledger in every small way: does a test notice? (hours)
	$(NEWEST)/bin/python -m tests.mutation $(MUTANTS)

# the healthy traffic goes on beside the incidents and after them: make drills HEALTHY_MINUTES=2
HEALTHY_MINUTES ?= 10
drills: debian $(NEWEST)/test.stamp  ## play every incident that an alert is for, on a real Prometheus: which alert, and when?
	@$(NEWEST)/bin/python -m tests.dashboards.drills --healthy-minutes $(HEALTHY_MINUTES)

screenshots: debian $(NEWEST)/test.stamp  ## take docs/images/console-*.png of the shop anew
	$(NEWEST)/bin/python -m tests.console.screenshots

# to look at all of them: make pictures PICTURES_ARGS='--scenes one eighty --look 1280 1600 1920'
pictures: debian $(NEWEST)/test.stamp $(NEWEST)/demo-celery.stamp  ## draw docs/images/grafana-*.png anew, after the shop's traffic (ten minutes, 700 MB of npm)
	$(NEWEST)/bin/python -m dashboards.pictures $(PICTURES_ARGS)

dashboards: $(NEWEST)/test.stamp  ## write dashboards/grafana/*.json and dashboards/prometheus/*.yml anew
	$(NEWEST)/bin/python -m dashboards.build

docs: $(DOCS)/docs.stamp  ## make the site of the documentation, in .build/docs/site; a warning is an error
	@$(DOCS)/bin/python -m docs.site

release: $(RELEASE)/release.stamp  ## build sdist and wheel, check both, run the wheel; say what is left to a person
	@$(RELEASE)/bin/python -m tests.wheel.release --repository '$(REPOSITORY)'

# the versions with which all was green, to have again what somebody else had: make quick CONSTRAINTS=tests/newest.txt
# of all groups, so that the file does not depend on what happens to be installed
constraints: $(NEWEST)/lint.stamp $(NEWEST)/bench.stamp $(NEWEST)/mutation.stamp  ## write down the versions that are installed, with the date: tests/newest.txt
	@{ echo "# What was installed for development on $$(date -u +%F), by \`make constraints\`."; \
	   $(NEWEST)/bin/pip freeze --exclude-editable | grep '==' | LC_ALL=C sort -f; } >tests/newest.txt

# the half of lint that takes seconds, as mypy remembers what has not changed
check: $(NEWEST)/check.stamp
	$(NEWEST)/bin/ruff check .
	$(NEWEST)/bin/ruff format --check .
	$(NEWEST)/bin/mypy
	$(NEWEST)/bin/lint-imports --no-logo

lint: debian check $(NEWEST)/lint.stamp  ## ruff, mypy --strict, pyright, tsc, the types of the pages' examples, who may import whom, and the workflow
	$(NEWEST)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(NEWEST)/bin/python -m tests.typing.readme
	$(NEWEST)/bin/python -m tests.console.types
	$(NEWEST)/bin/basedpyright
	PATH="$(CURDIR)/$(NEWEST)/bin:$$PATH" $(NEWEST)/bin/basedpyright --verifytypes afterword --ignoreexternal

format: $(NEWEST)/check.stamp  ## let ruff write what it can
	$(NEWEST)/bin/ruff check --fix .
	$(NEWEST)/bin/ruff format .

clean:  ## remove the environments and everything that was made
	rm -rf .venv .venv-oldest .venv-celery .venv-docs .venv-release .build .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis dist mutants

# The tests start a real Prometheus, Redis and RabbitMQ, look at the console in a browser, and check types with node.
debian:
	@.ci/debian-packages prometheus npm chromium redis-server rabbitmq-server

# --- environments ---------------------------------------------------------------------------------------------

# Debian ships Python without its venv module: install it where we may, else say what to install.
%/python.stamp:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11)' || { echo 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...'; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3-venv; \
		else echo 'The venv module is missing: apt-get install python3-venv'; exit 1; fi; }
	$(PYTHON) -m venv $*
	$*/bin/pip install -q --upgrade 'pip>=25.1'
	@touch $@

$(NEWEST)/demo.stamp: $(NEWEST)/python.stamp pyproject.toml
	$(NEWEST)/bin/pip install -q $(PINNED) -e . --group demo
	@touch $@

$(NEWEST)/demo-celery.stamp: $(NEWEST)/demo.stamp
	$(NEWEST)/bin/pip install -q $(PINNED) -e '.[celery]' --group demo-celery
	@touch $@

# What `make quick` needs, in one step. Most of it is never imported, so none of it is compiled beforehand.
$(NEWEST)/check.stamp: $(NEWEST)/python.stamp pyproject.toml
	$(NEWEST)/bin/pip install -q --no-compile $(PINNED) -e . --group test --group demo --group dashboards --group check
	@touch $@

$(NEWEST)/lint.stamp: $(NEWEST)/check.stamp
	$(NEWEST)/bin/pip install -q --no-compile $(PINNED) --group lint
	@touch $@

$(NEWEST)/test.stamp: $(NEWEST)/python.stamp pyproject.toml
	$(NEWEST)/bin/pip install -q $(PINNED) -e . --group test --group demo --group dashboards
	@touch $@

$(DOCS)/docs.stamp: $(DOCS)/python.stamp pyproject.toml
	$(DOCS)/bin/pip install -q --group docs
	@touch $@

$(RELEASE)/release.stamp: $(RELEASE)/python.stamp pyproject.toml
	$(RELEASE)/bin/pip install -q --group release
	@touch $@

$(NEWEST)/mutation.stamp: $(NEWEST)/test.stamp
	$(NEWEST)/bin/pip install -q $(PINNED) --group mutation
	@touch $@

$(NEWEST)/bench.stamp: $(NEWEST)/test.stamp
	$(NEWEST)/bin/pip install -q $(PINNED) --group bench
	@touch $@

$(OLDEST)/test.stamp: $(OLDEST)/python.stamp pyproject.toml tests/oldest.txt
	$(OLDEST)/bin/pip install -q -c tests/oldest.txt -e . --group test --group demo
	@touch $@

$(OLDEST_CELERY)/test.stamp: $(OLDEST_CELERY)/python.stamp pyproject.toml tests/celery/oldest.txt
	$(OLDEST_CELERY)/bin/pip install -q -c tests/celery/oldest.txt -e . --group test --group demo
	@touch $@

.PRECIOUS: %/python.stamp
