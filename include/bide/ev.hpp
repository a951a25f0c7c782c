/// A stepped runtime on a libev loop that the program owns.
///
/// Include <ev.h> first: which libev it is, and with which options, is the program's choice. It has nothing to do with the
/// one inside libbide. Without <ev.h> this header is empty.
#pragma once

#include <bide/runtime.hpp>

#ifdef EV_VERSION_MAJOR

namespace bide {

/// While it lives, the loop steps the runtime whenever it has something to do.
///
///     bide::runtime fibers(bide::stepped);
///     bide::on_ev_loop attached(fibers, loop);
///     ev_run(loop, 0);
///
/// It keeps ev_run() going, as any watcher does.
/// Threads:  the one that made the runtime, which runs the loop.
/// Owns:     nothing; both outlive it.
class on_ev_loop {
 public:
  /// Errors:   std::system_error EINVAL for a runtime that is not stepped.
  on_ev_loop(runtime& fibers, struct ev_loop* loop) : loop_(loop) {
    ev_io_init(&ready_, [](struct ev_loop*, ev_io* w, int) { static_cast<runtime*>(w->data)->poll(); }, fibers.fd(), EV_READ);
    ready_.data = &fibers;
    ev_io_start(loop_, &ready_);
  }
  ~on_ev_loop() { ev_io_stop(loop_, &ready_); }
  on_ev_loop(const on_ev_loop&) = delete;
  on_ev_loop& operator=(const on_ev_loop&) = delete;

 private:
  struct ev_loop* const loop_;
  ev_io ready_;
};

}  // namespace bide

#endif
