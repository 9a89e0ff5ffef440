#!/bin/sh
# scripts/soak: test_soak.sh SOAK BUILD. First that it finds out code that goes round in circles for 80 ms, and such that sleeps for
# as long, whatever the machine does meanwhile; then a minute of it. With PROFSHIM_TEST_FULL all of it, for 10^6 samples.
set -eu
if found=$("$1" --build "$2" --no-build --seconds 3 spin whirl doze); then
	echo "nothing was found: $found"
	exit 1
fi
for claim in "no step of more than 50 ms of CPU time" "no more steps that sleep for more than 50 ms"; do
	echo "$found" | grep -x "NOT SO   $claim" || { echo "not found where it is so: $found"; exit 1; }
done
for stall in spin/ whirl/round; do
	echo "$found" | grep -q " $stall.*: a stall$" || { echo "$stall was not found: $found"; exit 1; }
done
seconds="--seconds 60"
[ -z "${PROFSHIM_TEST_FULL:-}" ] || seconds=
exec "$1" --build "$2" --no-build $seconds
