#include "lib/door/signal_frame.hpp"

#include <cstring>

#include "asm/gate.h"
#include "asm/trap.h"

namespace bide::door {
namespace {

constexpr std::size_t alignment = 64;  // XSAVE's

static_assert(offsetof(signal_frame, info) == 312 && sizeof(signal_frame) == 440);

// struct _fpx_sw_bytes of the kernel's asm/sigcontext.h, in the part of FXSAVE's area that is left to software.
struct software_bytes {
  std::uint32_t magic, extended_size;
};
constexpr std::size_t software_offset = 464, plain_size = 512;
constexpr std::uint32_t extended_magic = 0x46505853;

std::size_t state_bytes(const ucontext_t& u) noexcept {
  const void* const state = u.uc_mcontext.fpregs;
  if (!state) return 0;
  software_bytes s;
  std::memcpy(&s, static_cast<const char*>(state) + software_offset, sizeof s);
  return s.magic == extended_magic ? s.extended_size : plain_size;
}

}  // namespace

std::size_t frame_bytes(const ucontext_t& u) noexcept { return state_bytes(u) + alignment + sizeof(signal_frame) + 16; }

signal_frame* copy_frame(std::uintptr_t top, const ucontext_t& u, const siginfo_t& info) noexcept {
  const std::size_t bytes = state_bytes(u);
  const std::uintptr_t state = (top - bytes) & ~(alignment - 1);
  // As a call leaves the stack: the address to return to is on it.
  const std::uintptr_t at = ((state - sizeof(signal_frame)) & ~std::uintptr_t{15}) - 8;
  signal_frame f;
  f.restorer = reinterpret_cast<void*>(bide_gate_restorer);
  std::memcpy(f.context_bytes, &u, sizeof f.context_bytes);
  f.info = info;
  if (bytes) f.context().uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(state);
  auto* const copy = reinterpret_cast<signal_frame*>(at);
  if (bide_copy(reinterpret_cast<void*>(state), u.uc_mcontext.fpregs, bytes) || bide_copy(copy, &f, sizeof f)) return nullptr;
  return copy;
}

void go_on_in(signal_frame& f, void (*handler)(int, siginfo_t*, void*)) noexcept {
  bide_enter_frame(&f, handler, f.info.si_signo, &f.info, &f.context());
}

}  // namespace bide::door
