#include "lib/call/terminal.hpp"

#include <asm/termbits.h>
#include <asm/ioctls.h>

#include "lib/sys/raw.hpp"

namespace bide::call {

terminal_read how_it_reads(int fd) noexcept {
  struct termios t;
  if (sys::raw(SYS_ioctl, fd, TCGETS, &t) != 0 || (t.c_lflag & ICANON)) return terminal_read::by_poll;
  const unsigned least = t.c_cc[VMIN], time = t.c_cc[VTIME];
  if (least == 0) return time == 0 ? terminal_read::never_waits : terminal_read::by_itself;
  return least == 1 && time == 0 ? terminal_read::by_poll : terminal_read::by_both;
}

}  // namespace bide::call
