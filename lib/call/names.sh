#!/bin/sh
# Writes a case of its name for each call that the kernel's headers number.
# usage: names.sh OUTPUT COMPILER...
set -eu
output=$1
shift
echo '#include <sys/syscall.h>' | "$@" -E -dM -x c - |
  sed -n -E 's/^#define SYS_([a-z0-9_]+) .*/case SYS_\1: return "\1";/p' | sort >"$output"
[ -s "$output" ]
