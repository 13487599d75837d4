#!/usr/bin/env bash
# Makes a running copy of the Autobahn test suite (PyPI autobahntestsuite, Apache-2.0, Python 2 inside) in the folder $1.
# Needs Python 3.11 or 3.12 (lib2to3), named by PYTHON where python3 is another. Nothing of it is kept in any repository.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); out=$(mkdir -p "$1" && cd "$1" && pwd); cd "$out"
[ -x v/bin/python ] || "${PYTHON:-python3}" -m venv v
v/bin/pip install -q 'setuptools<81' wheel autobahntestsuite==25.10.1 twisted zope.interface 'txaio==2.2.2' jinja2 pyopenssl service_identity
mkdir -p dl port
[ -d port/ab10 ] || { v/bin/pip download -q --no-deps --no-binary :all: --no-build-isolation -d dl autobahn==0.10.9; mkdir -p port/ab10; tar -xzf dl/autobahn-0.10.9.tar.gz -C port/ab10; }
rm -rf port/autobahntestsuite; cp -r v/lib/python3*/site-packages/autobahntestsuite port/
v/bin/python -m lib2to3 -w -n port/autobahntestsuite >2to3.log 2>&1 || true
v/bin/python "$here/port.py" port/autobahntestsuite
