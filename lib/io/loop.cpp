#include "lib/io/loop.hpp"

#include <errno.h>
#include <ev.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <new>

#include "lib/context/thread_pointer.hpp"
#include "lib/io/libev_seam.hpp"
#include "lib/sys/raw.hpp"

namespace bide::io {
namespace {

static_assert(sizeof(::ev_io) <= sizeof(watcher::ev_io_storage), "watcher must have room for ev_io");

::ev_io* of(watcher& w) noexcept { return reinterpret_cast<::ev_io*>(w.ev_io_storage); }
const ::ev_io* of(const watcher& w) noexcept { return reinterpret_cast<const ::ev_io*>(w.ev_io_storage); }

// Marks the thread as running libev's code for a loop.
class inside {
 public:
  explicit inside(loop* l) noexcept : before_(seam::current()) { seam::current() = l; }
  ~inside() { seam::current() = before_; }

 private:
  loop* before_;
};

}  // namespace

loop*& seam::current() noexcept {
#ifdef BIDE_PRELOAD
  return reinterpret_cast<loop*&>(context::this_block().loop);
#else
  static constinit thread_local loop* current __attribute__((tls_model("initial-exec"))) = nullptr;
  return current;
#endif
}
std::int64_t seam::until() noexcept { return current()->until_; }
void seam::polls_with(int fd) noexcept { current()->epoll_ = fd; }
bool seam::wants_urgent(int fd) noexcept { return current()->listener_->wants_urgent(fd); }
void seam::looked() noexcept { current()->listener_->on_look(); }
void seam::saw(int fd, std::uint32_t events) noexcept { current()->listener_->on_seen(fd, events); }
void seam::refused(int fd, int error) noexcept {
  current()->until_ = 0;  // somebody is ready now: no sleep
  current()->listener_->on_refused(fd, error);
}

int loop::open(listener& who, int bell, bool by_epoll) noexcept {
  listener_ = &who;
  close();
  const inside mark(this);
  // EVFLAG_NOSIGMASK and no child or signal watchers: signals are the program's. LIBEV_FLAGS chooses the back end.
  unsigned flags = unsigned{EVFLAG_NOSIGMASK} | unsigned{EVFLAG_NOTIMERFD};
  if (by_epoll) flags |= unsigned{EVFLAG_NOENV} | unsigned{EVBACKEND_EPOLL};
  ev_ = ev_loop_new(flags);
  if (!ev_) return seam::error();
  ev_set_userdata(ev_, this);
  ev_io_init(of(bell_watcher_), on_bell, bell, EV_READ);
  ev_io_start(ev_, of(bell_watcher_));
  // A worker that can't hear its bell would sleep through what other threads send it.
  const int error = make_room(bell);
  if (error) close();
  return error;
}

// libev finds it there already (EEXIST), and tells the kernel by EPOLL_CTL_MOD what to watch.
int loop::make_room(int fd) noexcept {
  epoll_event nothing{};
  return epoll_ < 0 ? 0 : static_cast<int>(sys::raw(SYS_epoll_ctl, epoll_, EPOLL_CTL_ADD, fd, &nothing));
}

void loop::close() noexcept {
  if (!ev_) return;
  const inside mark(this);
  ev_loop_destroy(ev_);
  ev_ = nullptr;
  epoll_ = -1;
}

void loop::initialise(watcher& w, int fd, readiness which) noexcept {
  w.which = which;
  ev_io_init(of(w), on_io, fd, which == readiness::readable ? EV_READ : EV_WRITE);
}
void loop::start(watcher& w) noexcept {
  const inside mark(this);
  ev_io_start(ev_, of(w));
}
void loop::stop(watcher& w) noexcept {
  const inside mark(this);
  ev_io_stop(ev_, of(w));
}
void loop::unwatch(int fd) noexcept {
  if (epoll_ >= 0) sys::raw(SYS_epoll_ctl, epoll_, EPOLL_CTL_DEL, fd, nullptr);
}
bool loop::started(const watcher& w) const noexcept { return ev_is_active(of(w)); }

void loop::on_io(struct ev_loop* ev, ::ev_io* io, int) noexcept {
  static_cast<loop*>(ev_userdata(ev))->listener_->on_ready(*reinterpret_cast<watcher*>(io));
}

void loop::on_bell(struct ev_loop*, ::ev_io* io, int) noexcept {
  std::uint64_t rings;
  sys::raw(SYS_read, io->fd, &rings, sizeof rings);
}

void loop::run(int flags) noexcept {
  const inside mark(this);
  ev_run(ev_, flags);
}
void loop::poll() noexcept { run(EVRUN_NOWAIT); }
void loop::sleep(std::int64_t until) noexcept {
  until_ = until;
  run(EVRUN_ONCE);
}

}  // namespace bide::io
