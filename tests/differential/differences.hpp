// Where fibers answer otherwise than kernel threads on purpose: all of it, with the reasons.
#pragma once

#include "compare.hpp"

namespace differential::meant {

inline constexpr std::string_view closed_is_told =
    "Linux keeps a descriptor's file open while a thread waits in a call on it, so that close(2) leaves the thread "
    "waiting, for ever perhaps. bide wakes it with EBADF: nobody can be meant to wait on what is closed.";

inline constexpr difference close_wakes_reader{"first: read -> 5", "first: read -> -1 EBADF", closed_is_told};
inline constexpr difference close_wakes_writer{"first: write -> 1", "first: write -> -1 EBADF", closed_is_told};
inline constexpr difference close_wakes_acceptor{"first: accept -> 1", "first: accept -> -1 EBADF", closed_is_told};
inline constexpr difference close_wakes_receiver{"first: recv MSG_WAITALL -> 5", "first: recv MSG_WAITALL -> 2",
                                                 closed_is_told};

}  // namespace differential::meant
