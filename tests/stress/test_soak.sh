#!/bin/sh
# A minute of scripts/soak: test_soak.sh SOAK BUILD. With PROFSHIM_TEST_FULL all of it, for 10^6 samples.
set -eu
seconds="--seconds 60"
[ -z "${PROFSHIM_TEST_FULL:-}" ] || seconds=
exec "$1" --build "$2" --no-build $seconds
