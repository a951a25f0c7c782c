// Descriptors and those who wait for them, for one worker. Worker only.
//
// Level-triggered and lazily re-armed. A watcher, once started, stays started when its waiters are served: a fiber that
// comes back before the next event costs no epoll_ctl. It is stopped by an event that nobody waits for or is about to
// take.
// libev applies changes of interest at its next iteration, so a stop and a start in between cost nothing either.
#pragma once

#include <boost/intrusive/list.hpp>

#include <bide/wait.hpp>

#include <cstdint>

#include "lib/fiber/park.hpp"
#include "lib/io/loop.hpp"
#include "lib/io/offload.hpp"
#include "lib/io/ring.hpp"

namespace bide::io {

// Somebody's place in a descriptor's list; lives on the waiting fiber's stack.
struct fd_wait : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
  explicit fd_wait(core::waiter& w) noexcept : who(w) {}
  ~fd_wait() {
    if (served) --*served;
  }
  core::waiter& who;
  std::uint32_t* served = nullptr;  // where it is counted between its wake and its turn
  ring_op* request = nullptr;    // waits for this rather than for readiness
  offload_call* call = nullptr;  // or for this
  bool urgent = false;           // priority data as well: POLLPRI
  bool by_readiness() const noexcept { return !request && !call; }
  std::uint32_t seen = 0;      // what epoll(7) said of the descriptor at its wake; see fd_slot
  int error = 0;               // why it ended, if not as its waiter says: -ENOMEM, -ENOSPC
};

using fd_wait_list = boost::intrusive::list<fd_wait, boost::intrusive::constant_time_size<false>>;

struct fd_slot {
  watcher watchers[2];      // by readiness
  fd_wait_list waiting[2];  // by readiness
  std::uint32_t served[2];  // by readiness: woken, and not yet had their turn
  // What the latest look told of it, as epoll(7) has it; `unknown`: something else.
  static constexpr std::uint32_t unknown = 1u << 31;
  std::uint32_t seen = 0, seen_by_look = 0;
  bool used = false;
  bool stale = false;  // what libev believes the kernel to watch is not so, or is another descriptor
  bool urgent = false;  // who watches it to read is told of priority data as well
};

class reactor final : loop::listener {
 public:
  // Returns 0 or -errno with nothing left open.
  int open(core::worker_core&, bool stepped = false) noexcept;
  void close() noexcept;
  // The child of a fork. Returns 0 or -errno.
  int reopen() noexcept;

  // Waits until the descriptor is ready for `which`. Returns 0 when it may be, or -ETIME, -ECANCELED, -ETIMEDOUT (a scope's
  // deadline), -EBADF (closed meanwhile), -ENOMEM or -ENOSPC (the kernel would not watch it).
  long wait(int fd, readiness which, const char* call, std::int64_t until) noexcept;

  // Puts a place in a descriptor's list and starts watching, for those who wait for several. Returns 0 or -ENOMEM.
  long enlist(int fd, readiness which, fd_wait& place) noexcept;

  // Has the kernel carry out a request that is `which`-like on a descriptor: accept or connect. Returns its result, or
  // -ETIME, -ECANCELED, -EBADF as wait(), or -ENOSYS where the kernel takes no requests.
  long request(int fd, readiness which, ring_op& op, const char* call, std::int64_t until) noexcept;

  // Makes the call on an offload thread. Returns its result, or -ECANCELED, -EBADF as wait(); -EINTR also when a signal
  // handler ran; -ENOMEM when no thread can be had. `fd` -1: of no descriptor.
  long offload(int fd, offload_call& call, const char* name) noexcept;

  // The descriptor is about to be closed or replaced: stops watching and wakes everyone with `closed`. The kernel forgets
  // it by itself if no other number or process holds its description.
  enum class held : bool { here_alone, elsewhere };
  void forget(int fd, held = held::elsewhere) noexcept;

  // The next to wait for the descriptor has the kernel told to watch it, whatever it was told before.
  void renew(int fd) noexcept;

  // Priority data that nobody takes is not to wake those who read the descriptor.
  void ignore_urgent(int fd) noexcept;

  // Those who wait for readiness of the descriptor look again.
  void nudge(int fd) noexcept;

  // Can it tell of priority data? Only by epoll.
  bool sees_urgent() const noexcept { return loop_.sees_urgent(); }
  bool anyone_waits() const noexcept { return waiting_ != 0; }
  std::uint32_t waiting() const noexcept { return waiting_; }
  int bell() const noexcept { return bell_; }

  // Of a stepped runtime: a descriptor that is readable when poll() would find something, or the timer has come.
  int outer_fd() const noexcept { return outer_; }
  void set_outer_timer(std::int64_t at) noexcept;

  void poll() noexcept;
  void sleep(std::int64_t until) noexcept;

 private:
  static constexpr int chunk_shift = 10;
  static constexpr int chunk_slots = 1 << chunk_shift;
  struct chunk {
    chunk* next;  // all chunks, newest first
    fd_slot slots[chunk_slots];
  };

  void on_ready(watcher&) noexcept override;
  void on_refused(int fd, int error) noexcept override;
  bool wants_urgent(int fd) noexcept override;
  void on_look() noexcept override { ++looks_; }
  void on_seen(int fd, std::uint32_t events) noexcept override;
  fd_slot* slot(int fd) noexcept;
  fd_slot* slot_if_any(int fd) noexcept;
  int open_ring() noexcept;
  int open_outer() noexcept;

  loop loop_;
  ring ring_;
  watcher ring_watcher_;
  chunk** directory_ = nullptr;  // by fd >> chunk_shift; reserved, so that most of it is no memory
  chunk* newest_ = nullptr;
  core::worker_core* worker_ = nullptr;
  int bell_ = -1;
  bool stepped_ = false;
  int outer_ = -1;        // epoll set of the loop's own and the timer
  int outer_timer_ = -1;  // timerfd
  std::uint32_t looks_ = 0;    // at the kernel, by epoll(7); a fd_slot says by which it was seen
  std::uint32_t waiting_ = 0;  // fibers in wait() and request(), and those who enlisted

  friend class waiting_here;
};

// Counts the fiber as waiting for descriptors, so that the worker polls.
class waiting_here {
 public:
  explicit waiting_here(reactor& r) noexcept : reactor_(r) { ++reactor_.waiting_; }
  ~waiting_here() { --reactor_.waiting_; }
  waiting_here(const waiting_here&) = delete;

 private:
  reactor& reactor_;
};

}  // namespace bide::io
