#!/bin/sh
# check-sigsafe itself: test_check_sigsafe.sh CHECK LIST GOOD BAD
set -u
check=$1 list=$2 good=$3 bad=$4
number=0

expect() { # expect CODE TEXT NAME ARGUMENT...: the check's exit code, and how its output begins
	code=$1 text=$2 name=$3
	shift 3
	number=$((number + 1))
	output=$("$check" "$@" 2>&1)
	result=$?
	case $result:$output in
	"$code:$text"*) echo "ok $number - $name" ;;
	*) echo "not ok $number - $name: exit code $result, output: $(printf '%s' "$output" | tr '\n' ' ')" ;;
	esac
}

temporary=$(mktemp)
trap 'rm -f "$temporary"' EXIT
echo 1..4
expect 1 'check-sigsafe: malloc: ' "an_allocation_is_found" "$list" "$good" "$bad"
{ cat "$list" && echo 'sleep: no longer needed'; } >"$temporary"
expect 1 'check-sigsafe: sleep: ' "a_name_that_nothing_needs_is_found" "$temporary" "$good"
{ cat "$list" && echo '?sleep: by some compilers'; } >"$temporary"
expect 0 '' "a_name_that_depends_on_the_compiler_may_be_missing" "$temporary" "$good"
sed 's/^memcpy: .*/memcpy:/' "$list" >"$temporary"
expect 1 "check-sigsafe: memcpy:: line of" "a_name_without_a_reason_is_found" "$temporary" "$good"
