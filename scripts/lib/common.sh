# common - what the scripts share: where the tree is, how they speak, how they build. Sourced by bash, never run.
# shellcheck shell=bash

# nginx, redis-server and ldconfig live in sbin, which ordinary users of Debian do not have in PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

say() { printf '%s\n' "$*"; }
# Ends the script with one sentence.
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# build_targets DIR LOG MESON_OPTIONS... -- TARGETS...: configures DIR once and builds the targets (none: all). Quiet; the
# whole output is in LOG, and its end is shown when the build fails.
build_targets() {
	local dir=$1 log=$2 options=() ok=yes
	shift 2
	while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	mkdir -p "$dir" || fail "cannot write $dir"
	: >"$log" || fail "cannot write $log: was it made by another user?"
	if [ -f "$dir/build.ninja" ]; then
		# Options may have changed since; a directory of another meson or another place is made anew.
		meson configure "$dir" "${options[@]}" >>"$log" 2>&1 ||
			meson setup --wipe "$dir" "$tree" "${options[@]}" >>"$log" 2>&1 || ok=no
	else
		meson setup "$dir" "$tree" "${options[@]}" >>"$log" 2>&1 || ok=no
	fi
	[ $ok = yes ] && { ninja -C "$dir" "$@" >>"$log" 2>&1 || ok=no; }
	[ $ok = yes ] && return
	tail -n 40 "$log" >&2
	fail "the build failed; all of its output is in $log"
}
