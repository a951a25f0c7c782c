// The end of a fiber that holds robust mutexes: they go to the next, who is told EOWNERDEAD.
#pragma once

namespace bide::door {

// The running fiber has one from now on. Without memory to note that, it stays locked when the fiber ends with it.
void has_robust_mutex() noexcept;

}  // namespace bide::door
