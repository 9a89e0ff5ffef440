#!/bin/sh
# scripts/soak: test_soak.sh SOAK BUILD. First that it finds out code that goes round in circles for 80 ms, whatever the
# machine does meanwhile; then a minute of it. With PROFSHIM_TEST_FULL all of it, for 10^6 samples.
set -eu
if found=$("$1" --build "$2" --no-build --seconds 3 spin) || ! echo "$found" | grep "^NOT SO   no step of more than 50 ms"; then
	echo "no stall was found where there are: $found"
	exit 1
fi
seconds="--seconds 60"
[ -z "${PROFSHIM_TEST_FULL:-}" ] || seconds=
exec "$1" --build "$2" --no-build $seconds
