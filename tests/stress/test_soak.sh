#!/bin/sh
# A moment of scripts/soak: test_soak.sh SOAK BUILD. With PROFSHIM_TEST_FULL a minute of it.
set -eu
seconds=12
[ -z "${PROFSHIM_TEST_FULL:-}" ] || seconds=60
exec "$1" --build "$2" --no-build --seconds $seconds
