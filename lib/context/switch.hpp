// Switching stacks. The only file that includes Boost.Context.
//
// jump_fcontext keeps the callee-saved registers, MXCSR and the x87 control word (System V ABI, 3.2.1), so the
// floating-point environment follows the fiber.
#pragma once

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>

namespace bide::context {

using saved = boost::context::detail::fcontext_t;      // a stopped context: its stack pointer
using arrival = boost::context::detail::transfer_t;    // fctx: who switched, now stopped; data: what it passed

extern "C" void bide_fiber_entry(arrival);  // asm/entry.S

// Makes a context that will begin at bide_fiber_main on the stack that ends at `top`.
inline saved make(void* top, std::size_t size) noexcept {
  return boost::context::detail::make_fcontext(top, size, bide_fiber_entry);
}

// The same with an entry of one's own, which does not return.
inline saved make(void* top, std::size_t size, void (*entry)(arrival)) noexcept {
  return boost::context::detail::make_fcontext(top, size, entry);
}

extern "C" arrival bide_jump(saved to, void* data) noexcept;  // asm/jump.S: jump_fcontext

inline arrival jump(saved to, void* data) noexcept { return bide_jump(to, data); }

}  // namespace bide::context
