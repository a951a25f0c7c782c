#!/bin/sh
# usage: libev.sh OUTPUT COMPILER...
# Takes libev's object out of its static library and binds its libc calls to lib/io/libev_seam.cpp.
set -eu
output=$1
shift
library=$("$@" -print-file-name=libev.a)
[ -f "$library" ] || { echo "libev.a not found: install libev-dev" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && ar x "$library" ev.o)
set --
for name in __errno_location epoll_create1 epoll_create epoll_ctl epoll_wait poll select read write close fcntl \
            getuid geteuid getgid getegid uname malloc realloc free __assert_fail perror __fprintf_chk stderr; do
  set -- "$@" "--redefine-sym=$name=bide_ev_$name"
done
objcopy "$@" --localize-symbol=ev_default_loop_ptr "$work/ev.o"
rm -f "$output"
ar rcs "$output" "$work/ev.o"
