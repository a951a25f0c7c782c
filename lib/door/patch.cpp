// Three shapes of a site are known, by their bytes in libc's code:
//
//   mov $nr,%eax; [lea,] syscall   The mov becomes the jump: one instruction for one of the same length. Whoever comes to
//                                  the syscall by another way finds it there, and traps.
//   syscall; cmp $-4096,%rax       Both become the jump, and the stub compares; only if no branch in libc's code can lead
//                                  to the compare.
//   again: xor %edi,%edi; mov %reg,%eax; syscall; jmp again
//                                  How a thread ends. The first three become the jump, which the last then leads to; only
//                                  if no branch can lead behind the first.
//
// It is done once, while the program has one thread and that is in no signal handler: so nobody is between two
// instructions that become one but the trap that brings us here. With the second thread, or when a program without one
// has trapped so often that it pays: it costs as much as a thousand traps, because each page of libc that is written is
// copied. Sites one by one, as they get hot, was rejected: a thread preempted before a compare would go on in the middle
// of a jump.
#include "lib/door/patch.hpp"

#include <cpuid.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

#include "asm/trap.h"
#include "lib/call/serve.hpp"
#include "lib/sched/carrier.hpp"
#include "lib/sched/threads.hpp"
#include "lib/sys/raw.hpp"

extern "C" {
unsigned char bide_tells_in_use = 0;
}

namespace bide::door {
namespace {

using byte = unsigned char;

constexpr byte jump = 0xe9, move_to_eax = 0xb8;  // Intel SDM, volume 2: each with 32 bits behind it
constexpr std::ptrdiff_t jump_bytes = 5, syscall_bytes = 2, compare_bytes = 6, lea_bytes = 7, end_bytes = 4;

// One site's way to bide_patched and back, in code that asm/trap.S sets apart. The two words are what bide_patched
// reads, and where the unwinder finds the way to libc.
struct stub {
  byte code[48];
  const byte* after;   // behind the site's syscall instruction, as after a trap
  const byte* onward;  // where to go on
};
static_assert(sizeof(stub) == BIDE_STUB_BYTES && offsetof(stub, after) == BIDE_STUB_WORDS);

struct code {
  byte* from = nullptr;
  byte* to = nullptr;
};

// Jumps of 32 bits must reach.
bool reach(const void* a, const void* b) noexcept {
  const auto distance = static_cast<const byte*>(a) - static_cast<const byte*>(b);
  return distance < INT32_MAX - 64 && distance > INT32_MIN + 64;
}

std::int32_t number_at(const byte* at) noexcept {
  std::int32_t n;
  memcpy(&n, at, sizeof n);
  return n;
}

class writer {
 public:
  explicit writer(byte* at) noexcept : at_(at) {}
  byte* at() const noexcept { return at_; }
  void copy(const byte* from, std::ptrdiff_t bytes) noexcept {
    memcpy(at_, from, static_cast<std::size_t>(bytes));
    at_ += bytes;
  }
  void load_address_to_rcx(const void* target) noexcept {
    constexpr byte lea[] = {0x48, 0x8d, 0x0d};
    copy(lea, sizeof lea);
    distance(target);
  }
  // An address beside RIP stays what it is.
  void copy_lea(const byte* from) noexcept {
    copy(from, lea_bytes);
    if ((from[2] & 0xc7) != 0x05) return;
    at_ -= sizeof(std::int32_t);
    distance(from + lea_bytes + number_at(from + 3));
  }
  void jump_to(const void* target) noexcept {
    *at_++ = jump;
    distance(target);
  }

 private:
  void distance(const void* target) noexcept {
    const auto d = static_cast<std::int32_t>(static_cast<const byte*>(target) - (at_ + 4));
    memcpy(at_, &d, sizeof d);
    at_ += sizeof d;
  }
  byte* at_;
};

// Their callers and children go on in ways of their own.
bool traps_for_good(std::int32_t nr) noexcept {
  return nr == SYS_rt_sigreturn || nr == SYS_clone || nr == SYS_fork || nr == SYS_vfork;
}

bool is_number(const byte* mov) noexcept {
  if (*mov != move_to_eax || number_at(mov + 1) < 0 || number_at(mov + 1) > 1023) return false;
  // A prefix, or the end of what stands before it: with a prefix it would be another instruction.
  return (mov[-1] & 0xf0) != 0x40 && mov[-1] != 0x66;
}

// lea with 32 bits behind it, from RIP or a register, to one of the first eight.
bool is_lea(const byte* at) noexcept {
  return at[0] == 0x48 && at[1] == 0x8d && ((at[2] & 0xc7) == 0x05 || ((at[2] & 0xc0) == 0x80 && (at[2] & 7) != 4));
}

// The mov that gives the call its number; null: it stands elsewhere.
byte* number_of(byte* syscall) noexcept {
  byte* const mov = syscall - jump_bytes;
  if (is_number(mov)) return mov;
  return is_lea(syscall - lea_bytes) && is_number(mov - lea_bytes) ? mov - lea_bytes : nullptr;
}

bool has_compare(const byte* syscall) noexcept {
  const byte* const compare = syscall + syscall_bytes;
  return compare[0] == 0x48 && compare[1] == 0x3d && (number_at(compare + 2) & ~0xf) == -4096;
}

// A thread's last call, made again should it ever return.
bool ends_thread(const byte* syscall) noexcept {
  const byte* const clear = syscall - end_bytes;
  const byte* const move = syscall - 2;
  return clear[0] == 0x31 && clear[1] == 0xff && move[0] == 0x89 && (move[1] & 0xc7) == 0xc0 && syscall[2] == 0xeb &&
         syscall + 4 + static_cast<signed char>(syscall[3]) == clear;
}

// Could a branch of 8 bits that begins here lead there?
bool enters_near(const byte* at, const byte* target) noexcept {
  const bool branch = (at[0] & 0xf0) == 0x70 || at[0] == 0xeb || (at[0] & 0xfc) == 0xe0;
  return branch && at + 2 + static_cast<signed char>(at[1]) == target;
}

class patcher {
 public:
  // For who has trapped at a site before it was patched.
  greg_t way_on(greg_t after) const noexcept {
    const stub* const found =
        std::find_if(first_, next_, [after](const stub& s) { return reinterpret_cast<greg_t>(s.after) == after; });
    return found == next_ ? after : reinterpret_cast<greg_t>(found->onward);
  }

  void patch_all(const code* texts, int count) noexcept {
    if (!open(first_, end_, PROT_READ | PROT_WRITE | PROT_EXEC)) return;
    for (int i = 0; i < count; ++i) patch(texts[i]);
    open(first_, end_, PROT_READ | PROT_EXEC);
  }

 private:
  static constexpr int most_inner = 256;

  void patch(const code& text) noexcept {
    if (!reach(text.from, first_) || !reach(text.to, first_) || !reach(text.from, end_) || !reach(text.to, end_)) return;
    find_inner(text);
    if (!open(text.from, text.to, PROT_READ | PROT_WRITE | PROT_EXEC)) return;
    for (byte* at = next_syscall(text, text.from); at; at = next_syscall(text, at + syscall_bytes)) {
      if (next_ == end_) break;
      if (byte* const mov = number_of(at)) {
        if (!traps_for_good(number_at(mov + 1))) take_number(mov, at);
      } else if (has_compare(at)) {
        if (is_never_entered(at + syscall_bytes)) take_compare(at);
      } else if (ends_thread(at)) {
        if (is_never_entered(at - 2) && is_never_entered(at) && is_never_entered(at + syscall_bytes)) take_end(at);
      }
    }
    open(text.from, text.to, PROT_READ | PROT_EXEC);
  }

  static bool open(const void* from, const void* to, int protection) noexcept {
    const auto page = ~std::uintptr_t{4095};
    const auto first = reinterpret_cast<std::uintptr_t>(from) & page;
    const auto last = (reinterpret_cast<std::uintptr_t>(to) + 4095) & page;
    return sys::raw(SYS_mprotect, first, last - first, protection) == 0;
  }

  static byte* next_syscall(const code& text, byte* at) noexcept {
    constexpr std::ptrdiff_t margin = 16;
    const byte* const last = text.to - margin;
    at = std::max(at, text.from + margin);
    while (at < last && (at = const_cast<byte*>(find(0x0f, at, last)))) {
      if (at[1] == 0x05) return at;
      ++at;
    }
    return nullptr;
  }

  // Which instructions within a site, behind its first, no branch can lead to. Every byte is taken for the first of a
  // branch: so one may be found that is none, but none is missed.
  void find_inner(const code& text) noexcept {
    inner_count_ = 0;
    for (byte* at = next_syscall(text, text.from); at; at = next_syscall(text, at + syscall_bytes)) {
      if (number_of(at)) continue;
      if (has_compare(at)) {
        note_unless_near(text, at + syscall_bytes);
      } else if (ends_thread(at)) {
        for (const byte* inner : {at - 2, at, at + syscall_bytes}) note_unless_near(text, inner);
      }
    }
    const byte* const last = text.to - 8;
    for (const byte* at = text.from; at < last && (at = find(jump, at, last)); ++at) drop(at + 5 + number_at(at + 1));
    for (const byte* at = text.from; at < last && (at = find(0x0f, at, last)); ++at) {
      if ((at[1] & 0xf0) == 0x80) drop(at + 6 + number_at(at + 2));
    }
  }
  void note_unless_near(const code& text, const byte* inner) noexcept {
    if (inner_count_ == most_inner) return;
    const byte* near = std::max<const byte*>(inner - 130, text.from);
    const byte* const far = std::min<const byte*>(inner + 130, text.to);
    while (near < far && !enters_near(near, inner)) ++near;
    if (near == far) inner_[inner_count_++] = inner;
  }
  static const byte* find(byte what, const byte* from, const byte* to) noexcept {
    return static_cast<const byte*>(memchr(from, what, static_cast<std::size_t>(to - from)));
  }
  // A branch may lead there.
  void drop(const byte* target) noexcept {
    if (std::binary_search(inner_, inner_ + inner_count_, target))
      inner_count_ = std::remove(inner_, inner_ + inner_count_, target) - inner_;
  }
  bool is_never_entered(const byte* inner) const noexcept {
    return std::binary_search(inner_, inner_ + inner_count_, inner);
  }

  void take_number(byte* mov, const byte* syscall) noexcept {
    writer w(next_->code);
    w.copy(mov, jump_bytes);
    if (mov + jump_bytes != syscall) w.copy_lea(mov + jump_bytes);
    enter(w, syscall);
    next_->onward = next_->after;
    finish(mov);
  }
  void take_compare(byte* syscall) noexcept {
    writer w(next_->code);
    enter(w, syscall);
    next_->onward = w.at();
    w.copy(next_->after, compare_bytes);
    w.jump_to(next_->after + compare_bytes);
    finish(syscall);
  }
  void take_end(byte* syscall) noexcept {
    byte* const clear = syscall - end_bytes;
    writer w(next_->code);
    w.copy(clear, end_bytes);
    enter(w, syscall);
    next_->onward = next_->after;
    finish(clear);
  }
  void enter(writer& w, const byte* syscall) noexcept {
    next_->after = syscall + syscall_bytes;
    w.load_address_to_rcx(&next_->after);
    w.jump_to(reinterpret_cast<const void*>(bide_patched));
  }
  void finish(byte* site) noexcept { writer(site).jump_to(next_++->code); }

  stub* const first_ = reinterpret_cast<stub*>(bide_stubs);
  stub* const end_ = reinterpret_cast<stub*>(bide_stubs_end);
  stub* next_ = first_;
  const byte* inner_[most_inner];  // sorted; the first inner_count_
  std::ptrdiff_t inner_count_ = 0;
};

// libpthread is a library of its own before glibc 2.34.
bool is_libc(const char* path) noexcept {
  const char* slash = strrchr(path, '/');
  const char* name = slash ? slash + 1 : path;
  return !strncmp(name, "libc.so", 7) || !strncmp(name, "libpthread.so", 13);
}

constexpr int most_parts = 4;
code libc[most_parts];
int parts = 0;  // 0: there is nothing to patch, or it is done

int note_code(dl_phdr_info* module, std::size_t, void*) noexcept {
  if (!is_libc(module->dlpi_name)) return 0;
  for (int i = 0; i < module->dlpi_phnum && parts < most_parts; ++i) {
    const ElfW(Phdr)& part = module->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || !(part.p_flags & PF_X)) continue;
    byte* const from = reinterpret_cast<byte*>(module->dlpi_addr + part.p_vaddr);
    libc[parts++] = {from, from + part.p_memsz};
  }
  return 0;
}

// Intel SDM, volume 2, CPUID: leaf 0DH, sub-leaf 1.
bool tells_in_use() noexcept {
  constexpr unsigned xgetbv_of_1 = 1 << 2;
  unsigned a, b, c, d;
  return __get_cpuid_count(0xd, 1, &a, &b, &c, &d) && a & xgetbv_of_1;
}

// Other kernel threads, which wait to be given a worker, fetch their instructions anew: membarrier(2), Linux 4.16.
bool have_code_fetched_anew() noexcept {
  constexpr int now = 1 << 5, registered = 1 << 6;
  return sys::raw(SYS_membarrier, registered, 0, 0) == 0 && sys::raw(SYS_membarrier, now, 0, 0) == 0;
}

constexpr int traps_that_pay = 1000;
int traps_left = traps_that_pay;

void patch_now(core::thread& me) noexcept {
  if (!parts || core::live_threads() != 1 || me.handlers) return;
  bide_tells_in_use = tells_in_use();
  patcher p;
  if (core::carriers() == 1 || have_code_fetched_anew()) {
    p.patch_all(libc, parts);
    if (core::carriers() > 1) have_code_fetched_anew();
  }
  parts = 0;
  if (me.registers) me.registers[REG_RIP] = p.way_on(me.registers[REG_RIP]);
}

}  // namespace

void prepare_patching() noexcept {
  dl_iterate_phdr(note_code, nullptr);
  call::set_before_second_thread(patch_now);
}

void note_trap(core::thread& me) noexcept {
  if (!parts || --traps_left > 0) return;
  traps_left = traps_that_pay;
  patch_now(me);
}

}  // namespace bide::door
