#!/usr/bin/env bash
# Makes .venv, installs the dev extra, runs every check. Arguments go to pytest.
. "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh" dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/pyright --pythonpath .venv/bin/python
.venv/bin/pytest -n 2 --dist worksteal "$@"  # tests of one file stay together
