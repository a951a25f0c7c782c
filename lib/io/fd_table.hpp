// What is known of each descriptor number in this process. Any thread.
//
// A number's facts live from one owner to the next: whoever closes or replaces a descriptor calls forget(), which starts
// a new generation. A waiter that finds another generation than it began with must not touch the number again.
//
// Facts about O_NONBLOCK and timeouts belong to the open file description, which other processes and other numbers may
// share. They are remembered only while this number is its only holder ("sole"): we saw it made, and saw neither dup, fork,
// a program started nor SCM_RIGHTS since. In every other case the kernel is asked each time.
#pragma once

#include <atomic>
#include <cstdint>

namespace bide::io {

// How an attempt on it is kept from waiting.
enum class fd_kind : std::uint8_t {
  unknown,
  stream_socket,   // MSG_DONTWAIT; a short read has emptied it
  message_socket,  // MSG_DONTWAIT; a read takes one message
  nowait,          // RWF_NOWAIT: pipes, eventfds and timerfds to read
  fifo,            // a zero-time poll(2) first, and writes of PIPE_BUF: opened FIFOs
  counter,         // a zero-time poll first: eventfds to write, inotify, signalfd and other anonymous files
  terminal,        // a zero-time poll first: ttys and other character devices
  file,            // never waits as poll(2) means it: regular files, directories, block devices
  ring,            // no transfers: an io_uring, whose completions poll(2) tells of
  wide_ring,       // the same, with completions of 32 bytes: IORING_SETUP_CQE32
  deferring_ring,  // an io_uring that tells nobody who only polls: IORING_SETUP_DEFER_TASKRUN
};

struct fd_facts {
  std::atomic<std::uint32_t> generation;
  std::atomic<fd_kind> kind;
  std::atomic<bool> ours;              // one of the runtime's own
  std::atomic<bool> asked;             // nonblocking and the timeouts are known, if sole
  std::atomic<bool> nonblocking;
  std::atomic<bool> low_water;         // SO_RCVLOWAT was set through a door
  std::atomic<bool> drained;           // the last read was short: most likely nothing is left
  std::atomic<bool> transfer;          // somebody is between poll(2)'s answer and the transfer it promises
  std::atomic<std::uint32_t> sole_since;   // the share epoch in which it was made; 0: not sole
  std::atomic<std::uint64_t> watched_by;   // bit i: worker i has watched it
  std::atomic<std::int64_t> receive_timeout, send_timeout;  // ns; base::never: none

  bool is_sole() const noexcept;
};

// Returns null for a negative number, and when there is no memory for facts: then nothing is remembered.
fd_facts* facts(int fd) noexcept;
// As facts(), but null where nothing was ever noted.
fd_facts* facts_if_any(int fd) noexcept;

// A new description under this number, made by this process through a door.
void fd_made(int fd) noexcept;
// The number's owner goes: a new generation, nothing known.
void fd_forget(fd_facts&) noexcept;
// Another number or process may now hold its description.
void fd_shared(int fd) noexcept;
// Every description may now be held by others: fork, or descriptors in a message.
void all_fds_shared() noexcept;

// Marks one of the runtime's own descriptors, moved out of the way of the program's low numbers. Returns its new number
// or -errno; the old one is closed either way.
int adopt_own_fd(int fd) noexcept;
void close_own_fd(int fd) noexcept;
bool is_own_fd(int fd) noexcept;

}  // namespace bide::io
