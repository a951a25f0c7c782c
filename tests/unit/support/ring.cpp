#include "support/ring.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>

namespace unit {
namespace {

constexpr unsigned entries = 16;

std::atomic_ref<unsigned> shared(unsigned* word) { return std::atomic_ref(*word); }

}  // namespace

ring::ring(unsigned flags) {
  p_.flags = flags;
  fd_ = unit::fd(make_call(SYS_io_uring_setup, entries, &p_));
  if (fd_ < 0) return;
  size_ = std::max<std::size_t>(p_.sq_off.array + p_.sq_entries * sizeof(unsigned), p_.cq_off.cqes + p_.cq_entries * sizeof(io_uring_cqe));
  memory_ = static_cast<char*>(::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, IORING_OFF_SQ_RING));
  asked_ = static_cast<io_uring_sqe*>(
      ::mmap(nullptr, p_.sq_entries * sizeof(io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, IORING_OFF_SQES));
}

ring::~ring() {
  if (fd_ < 0) return;
  ::munmap(memory_, size_);
  ::munmap(asked_, p_.sq_entries * sizeof(io_uring_sqe));
}

void ring::ask(const io_uring_sqe& what) {
  unsigned* const tail = at(p_.sq_off.tail);
  const unsigned place = *tail & *at(p_.sq_off.ring_mask);
  asked_[place] = what;
  at(p_.sq_off.array)[place] = place;
  shared(tail).store(*tail + 1, std::memory_order_release);
}

void ring::ask_nothing() {
  io_uring_sqe what{};
  what.opcode = IORING_OP_NOP;
  ask(what);
}

void ring::ask_byte(int from) {
  io_uring_sqe what{};
  what.opcode = IORING_OP_READ;
  what.fd = from;
  what.addr = reinterpret_cast<std::uintptr_t>(&byte_);
  what.len = 1;
  ask(what);
}

void ring::ask_time(std::int64_t ns) {
  auto& length = length_[*at(p_.sq_off.tail) % entries];
  length = {ns / 1'000'000'000, ns % 1'000'000'000};
  io_uring_sqe what{};
  what.opcode = IORING_OP_TIMEOUT;
  what.addr = reinterpret_cast<std::uintptr_t>(&length);
  what.len = 1;
  ask(what);
}

long ring::enter(unsigned submit, unsigned least, unsigned flags, const void* argument, std::size_t size) {
  return make_call(SYS_io_uring_enter, fd_, submit, least, flags, argument, size);
}

unsigned ring::completions() const {
  return shared(at(p_.cq_off.tail)).load(std::memory_order_acquire) - *at(p_.cq_off.head);
}

unsigned ring::take() {
  const unsigned count = completions();
  unsigned* const head = at(p_.cq_off.head);
  shared(head).store(*head + count, std::memory_order_release);
  return count;
}

}  // namespace unit
