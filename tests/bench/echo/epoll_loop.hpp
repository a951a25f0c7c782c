/// A bare level-triggered epoll loop, the floors' only way to wait.
#pragma once

#include "server.hpp"

#include <sys/epoll.h>

namespace bench {

class epoll_loop {
 public:
  /// Has run() tell of whatever there is to read.
  void watch(int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  }

  /// For ever: calls `accept()` when connections wait at the listener, `answer(fd)` when another descriptor has something.
  template <class Accept, class Answer>
  [[noreturn]] void run(int listener, Accept&& accept, Answer&& answer) {
    watch(listener);
    for (;;) {
      epoll_event events[1024];
      const int ready = epoll_wait(fd_, events, 1024, -1);
      for (int i = 0; i < ready; ++i) {
        if (events[i].data.fd == listener) {
          accept();
        } else {
          answer(events[i].data.fd);
        }
      }
    }
  }

 private:
  int fd_ = epoll_create1(EPOLL_CLOEXEC);
};

}  // namespace bench
