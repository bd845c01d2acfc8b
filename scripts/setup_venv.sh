#!/usr/bin/env bash
# Sourced by the other scripts: makes .venv if there is none and installs the package in it.
# Usage: . scripts/setup_venv.sh [EXTRA]      PYTHON names another interpreter (3.11 or newer).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "setup: $("$python" --version) is too old, Python 3.11 or newer is needed" >&2
  exit 2
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".${1:+[$1]}"
