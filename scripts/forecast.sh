#!/usr/bin/env bash
# From nothing to a fan chart: makes .venv, installs, forecasts with the built-in weights.
# Flags are passed on to `jaxmars forecast`.
. "$(dirname "${BASH_SOURCE[0]}")/setup_venv.sh"
exec .venv/bin/jaxmars forecast "$@"
