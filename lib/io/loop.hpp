// A worker's libev loop. loop.cpp is the only file that includes ev.h.
//
// libev is linked in privately with its libc calls bound to libev_seam.cpp: they go through the gate, its errno is its
// own, its memory the arena's, and its sleep ends at the nanosecond asked for (libev's own counts in milliseconds).
#pragma once

#include <cstddef>
#include <cstdint>

struct ev_loop;
struct ev_io;

namespace bide::io {

enum class readiness : std::uint8_t { readable, writable };

// One libev watcher, initialised once. Its first member is an ev_io, which only loop.cpp knows.
struct watcher {
  alignas(8) std::byte ev_io_storage[48];
  void* owner = nullptr;  // as the listener likes
  readiness which = readiness::readable;
};

class loop {
 public:
  // Who is told. Called inside poll() and sleep(), in the worker's own context.
  struct listener {
    virtual void on_ready(watcher&) noexcept = 0;
    // The kernel refused to watch this descriptor: -EBADF, -ENOSPC, -ENOMEM.
    virtual void on_refused(int fd, int error) noexcept = 0;
    // Is who watches it to read to be told of priority data, too? libev has no word for that.
    virtual bool wants_urgent(int fd) noexcept = 0;
    // A look at the kernel begins to tell what it found, by on_seen; then on_ready follows. Only of epoll(7).
    virtual void on_look() noexcept = 0;
    virtual void on_seen(int fd, std::uint32_t events) noexcept = 0;

   protected:
    ~listener() = default;
  };

  // Returns 0 or -errno. `bell` is an eventfd that ends a sleep when written. `by_epoll`: whatever LIBEV_FLAGS says.
  int open(listener&, int bell, bool by_epoll = false) noexcept;
  void close() noexcept;
  // With that back end, its descriptor; else -1.
  int epoll_fd() const noexcept { return epoll_; }

  // Has the kernel make room to watch a descriptor, so that it can't refuse later. Returns 0 or -errno.
  int make_room(int fd) noexcept;

  void initialise(watcher&, int fd, readiness) noexcept;
  void start(watcher&) noexcept;
  void stop(watcher&) noexcept;
  // The kernel forgets a descriptor that is about to be closed. libev leaves that to the close, which is none while
  // another number or process holds the description: its events would go on for ever.
  void unwatch(int fd) noexcept;
  bool started(const watcher&) const noexcept;
  bool sees_urgent() const noexcept { return epoll_ >= 0; }

  // Looks for events without waiting.
  void poll() noexcept;
  // Waits for events, the bell or the monotonic `until`. Stops watching the bell for nobody.
  void sleep(std::int64_t until) noexcept;

 private:
  friend struct seam;  // libev's side of it
  static void on_io(struct ev_loop*, ::ev_io*, int) noexcept;
  static void on_bell(struct ev_loop*, ::ev_io*, int) noexcept;
  void run(int flags) noexcept;

  struct ev_loop* ev_ = nullptr;
  listener* listener_ = nullptr;
  watcher bell_watcher_;
  int epoll_ = -1;  // with that back end
  std::int64_t until_ = 0;  // when the sleep in progress ends
};

}  // namespace bide::io
