// An io_uring, by the kernel's calls alone.
#pragma once

#include <linux/io_uring.h>

#include <cstdint>

#include "support/descriptors.hpp"

namespace unit {

class ring {
 public:
  // Made through the table. One that can't be had has no descriptor: fd() < 0.
  explicit ring(unsigned flags = 0);
  ~ring();
  ring(const ring&) = delete;

  int fd() const { return fd_; }
  // Asks for something; it is submitted by enter().
  void ask(const io_uring_sqe&);
  // Asks for what is over at once, for a byte, for a time of so many nanoseconds to pass.
  void ask_nothing();
  void ask_byte(int from);
  void ask_time(std::int64_t ns);
  // Through the table.
  long enter(unsigned submit, unsigned least, unsigned flags = IORING_ENTER_GETEVENTS, const void* argument = nullptr,
             std::size_t size = 0);
  // How many completions are there; takes all of them.
  unsigned completions() const;
  unsigned take();

 private:
  unsigned* at(unsigned offset) const { return reinterpret_cast<unsigned*>(memory_ + offset); }

  io_uring_params p_{};
  unit::fd fd_;
  char* memory_ = nullptr;  // both queues: IORING_FEAT_SINGLE_MMAP
  io_uring_sqe* asked_ = nullptr;
  std::size_t size_ = 0;
  char byte_ = 0;  // all of them
  struct { std::int64_t seconds, ns; } length_[16];
};

}  // namespace unit
