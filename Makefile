# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# make demo [DB=/path]  see a backup, a loss and a restore, with a database made up for it or a copy of yours
# make check            the quick checks, before each commit
# make test             everything; nothing needs to be set up first
# make benchmark [SIZE=1G] [DAY_SIZE=1G] [ROUNDS=3] [ONLY=ours,pipeline,rounds]
#                       the engine beside other tools; docs/benchmark.md gets the tables, unless ONLY names a part
# make benchmark-offsite [SIZE=1G]
#                       what it takes to send hourly backups to an object store; the tables go there, too
# make benchmark-recovery [SIZE=1G]
#                       how long it takes until a lost database is back; into docs/benchmark.md, too
# make benchmark-telling
#                       what it costs a run to tell others of it; into docs/benchmark.md, too
# make mutation         change the code in small ways, and say what no test notices; CONTRIBUTING.md lists what may be
# make docs             the documentation as a site, below .build/docs/html/
# make release-check    make the release that galaxy.yml names, in a copy, below .build/release/
# make fleet [HOSTS=1,10,50] [DATABASES=1,10] [FORKS=5,25]
#                       what many hosts cost the machine that runs Ansible; into docs/benchmark.md unless one is named
# make clean            remove all that these made

.POSIX:
.DEFAULT_GOAL := check
.PHONY: benchmark benchmark-offsite benchmark-recovery benchmark-telling check clean demo docs fleet mutation programs release-check test

BUILD := .build
PYTHON := $(BUILD)/venv/bin/python
READY := $(BUILD)/venv/.ready
NOX := $(PYTHON) -m nox
PYTEST := $(PYTHON) -m pytest --numprocesses auto --dist worksteal

# A command:package list of what starts hosts in containers; only root can.
HOST_PROGRAMS := podman:podman runc:runc nft:nftables debootstrap:debootstrap ssh:openssh-client
# The same of what tests run beside Python.
PROGRAMS := cc:build-essential sqlite3:sqlite3 zstd:zstd age:age gpg:gnupg restic:restic borg:borgbackup rsync:rsync rclone:rclone \
	/usr/sbin/sshd:openssh-server chromium:chromium prometheus:prometheus \
	prometheus-node-exporter:prometheus-node-exporter prometheus-alertmanager:prometheus-alertmanager \
	/usr/sbin/logrotate:logrotate /usr/lib/wine/wine64:wine64 x86_64-w64-mingw32-gcc:gcc-mingw-w64-x86-64 $(HOST_PROGRAMS)
# And for the tools that the benchmark compares; Litestream and aws come with tests/requirements/benchmark.txt.
BENCHMARK_PROGRAMS := sqlite3:sqlite3 zstd:zstd restic:restic borg:borgbackup $(HOST_PROGRAMS)

# Microsoft's emulator of Azure Blob, from the registry of npm.
AZURITE := azurite@3.35.0
# What an example of the documentation needs, from there, too.
EXPRESS := express@5.3.0

# What a machine sets for its own network must not reach the servers that tests start on loopback.
HERMETIC := env -u AWS_CA_BUNDLE -u http_proxy -u HTTP_PROXY -u https_proxy -u HTTPS_PROXY -u all_proxy -u ALL_PROXY

demo: $(READY)
	@$(HERMETIC) $(PYTHON) tests/demo/demo.py $(if $(DB),--database "$(DB)")

check: $(READY)
	$(NOX) --session lint
	$(HERMETIC) $(PYTEST) tests/unit -m "not slow and not thorough"

test: programs $(READY) $(BUILD)/stores/.ready $(BUILD)/otlp/.ready $(BUILD)/windows/.ready \
		$(BUILD)/collections-windows/.ready
	@$(PYTHON) tests/support/everything.py $(HERMETIC) $(PYTEST)

docs: $(READY)
	@$(NOX) --session docs

release-check: $(READY)
	@$(NOX) --session release-check
	@echo "Ready to be released: $$(ls $(BUILD)/release/*.tar.gz)"

benchmark: PROGRAMS := $(BENCHMARK_PROGRAMS)
benchmark: programs $(BUILD)/venv/.benchmark
	@$(HERMETIC) $(PYTHON) tests/benchmark/run.py $(if $(SIZE),--size "$(SIZE)") \
		$(if $(DAY_SIZE),--day-size "$(DAY_SIZE)") $(if $(ROUNDS),--rounds "$(ROUNDS)") \
		$(if $(ONLY),--only "$(ONLY)",--document docs/benchmark.md)

benchmark-offsite: PROGRAMS := sqlite3:sqlite3 zstd:zstd restic:restic
benchmark-offsite: programs $(BUILD)/venv/.benchmark
	@$(HERMETIC) $(PYTHON) tests/benchmark/offsite.py $(if $(SIZE),--size "$(SIZE)") --document docs/benchmark.md

benchmark-recovery: PROGRAMS := zstd:zstd rsync:rsync sshd:openssh-server
benchmark-recovery: programs $(BUILD)/venv/.benchmark
	@$(HERMETIC) $(PYTHON) tests/benchmark/recovery.py $(if $(SIZE),--size "$(SIZE)") --document docs/benchmark.md

benchmark-telling: $(READY) $(BUILD)/otlp/.ready
	@$(HERMETIC) $(PYTHON) tests/benchmark/telling.py --document docs/benchmark.md

mutation: $(READY)
	$(NOX) --session mutation

fleet: PROGRAMS := sqlite3:sqlite3 $(HOST_PROGRAMS)
fleet: programs $(READY)
	@$(HERMETIC) $(PYTHON) tests/benchmark/fleet.py $(if $(HOSTS),--hosts "$(HOSTS)") \
		$(if $(DATABASES),--databases "$(DATABASES)") $(if $(FORKS),--forks "$(FORKS)") \
		$(if $(HOSTS)$(DATABASES)$(FORKS),,--document docs/benchmark.md)

programs:
	@missing=; for pair in $(PROGRAMS); do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ -e /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$missing; \
	else \
		echo "MISSING, what needs them is left out:$$missing" >&2; \
	fi

$(READY): tests/requirements/ansible.txt tests/requirements/dev.txt tests/requirements/test.txt
	@python=python3; for version in 3.14 3.13 3.12 3.11; do \
		for each in python$$version $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python; do \
			if $$each -c '' 2>/dev/null; then python=$$each; break 2; fi; \
		done; \
	done; \
	if ! $$python -c 'import ensurepip' 2>/dev/null && [ -e /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3-venv; \
	fi; \
	set -x; $$python -m venv --clear $(BUILD)/venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/requirements/dev.txt
	@touch $@

# Emulators of object stores. Without one its tests are skipped, and the next run tries again.
$(BUILD)/stores/.ready: $(READY) tests/requirements/stores.txt
	@missing=; $(PYTHON) -m venv --clear $(BUILD)/stores && $(BUILD)/stores/bin/python -m pip install --quiet \
		--disable-pip-version-check -r tests/requirements/stores.txt || missing=" gcp-storage-emulator moto"; \
	npm install --silent --no-fund --no-audit --prefix $(BUILD)/stores $(AZURITE) $(EXPRESS) >/dev/null 2>&1 \
		|| missing="$$missing azurite express"; \
	if [ -z "$$missing" ]; then touch $@; else echo "MISSING, what needs it is left out:$$missing" >&2; fi

# A Python that has OpenTelemetry. Without it what it sends is not tested, and the next run tries again.
$(BUILD)/otlp/.ready: $(READY) tests/requirements/otlp.txt
	@if $(PYTHON) -m venv --clear $(BUILD)/otlp && $(BUILD)/otlp/bin/python -m pip install --quiet \
		--disable-pip-version-check -r tests/requirements/otlp.txt; then \
		touch $@; \
	else \
		rm -rf $(BUILD)/otlp; \
		echo "MISSING, what needs it is left out: opentelemetry" >&2; \
	fi

# A Windows Python in Wine. Without it what is said of Windows is not tested, and the next run tries again.
$(BUILD)/windows/.ready: $(READY) tests/requirements/windows.txt tests/support/windows_python.py
	@if $(PYTHON) tests/support/windows_python.py; then \
		touch $@; \
	else \
		rm -rf $(BUILD)/windows; \
		echo "MISSING, what needs it is left out: a Windows Python" >&2; \
	fi

# The collections with the modules for Windows hosts, out of the package of all that Ansible has. Without them what is
# sent to such hosts is not tested, and the next run tries again.
$(BUILD)/collections-windows/.ready: $(READY) tests/requirements/collections-windows.txt
	@rm -rf $(@D) && mkdir -p $(@D)
	@if $(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --dest $(@D) \
		-r tests/requirements/collections-windows.txt \
		&& $(PYTHON) tests/support/windows_collections.py $(@D); then \
		touch $@; \
	else \
		echo "MISSING, what needs it is left out: ansible.windows community.windows" >&2; \
	fi

# Without these all the others are measured, and the next run tries again.
$(BUILD)/venv/.benchmark: $(READY) tests/requirements/benchmark.txt
	@if $(PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/requirements/benchmark.txt; then \
		touch $@; \
	else \
		echo "MISSING, what needs it is left out: litestream aws" >&2; \
	fi

clean:
	rm -rf $(BUILD)
	@if [ "$$(id -u)" = 0 ] && command -v podman >/dev/null; then \
		podman images --quiet --filter reference=localhost/sqliteops-debian | xargs --no-run-if-empty podman rmi; \
	fi
