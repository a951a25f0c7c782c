# What the scripts that start from a bare Debian share: words for the user, packages, a build. Sourced, not run.
#
# Before: cd to the project's root; `script`, its name for messages; `logs`, a folder for what the tools say.
# Its caller's clean-up calls forget_policy.
# shellcheck shell=bash

step() { printf '\n==> %s\n' "$*"; }
fail() { printf '\n%s: %s\n' "$script" "$1" >&2; exit "${2:-1}"; }

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

policy=''
forget_policy() {
  [[ -z $policy ]] || as_root rm -f "$policy"
  policy=''
}

# What the libraries, the launcher and every build need.
build_packages=(g++ meson ninja-build pkg-config libboost-context-dev libcli11-dev libev-dev)

is_installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# install_packages NAME...: those that are missing.
install_packages() {
  local package missing=()
  for package; do
    is_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || { echo "all there"; return; }
  echo "missing: ${missing[*]}"
  ((EUID == 0)) || command -v sudo >/dev/null ||
    fail "to install packages, run this as root, or install them first: apt-get install ${missing[*]}"

  # Servers' packages start them when they are installed; invoke-rc.d(8) asks this file whether they may.
  if [[ ! -e /usr/sbin/policy-rc.d ]]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120)
  { as_root timeout --foreground 120 "${apt[@]}" update &&
    as_root timeout --foreground 600 "${apt[@]}" install --no-install-recommends --no-remove "${missing[@]}"; } 2>&1 |
    tee "$logs/apt.log" | sed -un -E '/^(Get:|Unpacking|Setting up)/s/^/  /p' ||
    { grep -E '^[EW]:' "$logs/apt.log" >&2 || tail "$logs/apt.log" >&2
      fail "apt-get failed: is there a network, and a Debian 12 mirror in /etc/apt? Then run this again."; }
  forget_policy
}

# Ctrl-C reaches what `timeout --foreground` runs, and so does the signal to a process group.
# set_up_build FOLDER OPTION...: meson's part of a build, whether the folder is new or not.
set_up_build() {
  local folder=$1 reconfigure=()
  shift
  [[ ! -e $folder/build.ninja ]] || reconfigure=(--reconfigure)
  timeout --foreground 120 meson setup "${reconfigure[@]}" "$folder" "$@"
}
