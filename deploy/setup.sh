#!/usr/bin/env bash
# Makes .venv with the locked dependencies; does nothing when it is up to date.
#   deploy/setup.sh run    what the house needs
#   deploy/setup.sh dev    and what tests and checks need
set -euo pipefail
cd "$(dirname "$0")/.."
lock=requirements.lock; [ "${1:-run}" = dev ] && lock=requirements-dev.lock
stamp=.venv/.installed-${1:-run}
want=$(sha256sum "$lock" pyproject.toml | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "PEMS needs Python 3.11 or newer; this is $("$python" --version)" >&2; exit 1
fi
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  if ! "$python" -m venv .venv 2>/dev/null; then
    # Debian and Ubuntu ship Python without its venv module
    echo "installing python3-venv ..." >&2
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq && $sudo apt-get install -y -qq python3-venv
    "$python" -m venv .venv
  fi
fi
.venv/bin/python -m pip install -q --disable-pip-version-check 'uv>=0.8'
.venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r "$lock"
.venv/bin/uv pip install -q --python .venv/bin/python --no-deps -e .
rm -f .venv/.installed-*; echo "$want" >"$stamp"
