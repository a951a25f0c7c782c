// Futexes among fibers: address -> waiters.
#pragma once
#include <cstdint>
struct robust_list_head;
namespace bide::sync {
long futex(std::uint32_t* word, int operation, std::uint32_t value, const void* timeout, std::uint32_t* word2, std::uint32_t value3) noexcept;
void futex_wake_everywhere(std::uint32_t* word) noexcept;
void release_robust_list(robust_list_head*, std::uint32_t tid) noexcept;
void futex_after_fork() noexcept;
}
