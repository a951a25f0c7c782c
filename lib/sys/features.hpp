// What this kernel has, asked once.
#pragma once

#include <string_view>

namespace bide::sys {

// True until the environment's BIDE_DISABLE (names separated by commas) turns it off or the kernel refuses it once.
struct feature_set {
  bool guard_install;  // "guard_install": MADV_GUARD_INSTALL, Linux 6.13
  bool rwf_nowait;     // "rwf_nowait": preadv2 and pwritev2 with RWF_NOWAIT on pipes and kin, Linux 5.12 and later
  bool io_uring;       // "io_uring": connect and accept as requests, Linux 5.5
  bool epoll_pwait2;   // "epoll_pwait2": sleeps to the nanosecond, Linux 5.11
  bool close_range;    // "close_range": Linux 5.9
  bool fsgsbase;       // "fsgsbase": a preloaded program's thread pointers without a kernel call, Linux 5.9
  bool trap;           // "trap": calls by Syscall User Dispatch, preloaded or with options::trap, Linux 5.11
};

feature_set& features() noexcept;

// All names, as a person reads a list.
inline constexpr std::string_view feature_names = "close_range, epoll_pwait2, fsgsbase, guard_install, io_uring, rwf_nowait, trap";
// The first word of a list, which commas part, that is none of them; empty if there is none.
std::string_view unknown_feature(std::string_view list) noexcept;

// Is that name in the list, which commas part?
bool is_listed(std::string_view list, std::string_view name) noexcept;

}  // namespace bide::sys
