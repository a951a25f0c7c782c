// Files, and what has no form of its own that never waits.
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <memory>

#include "call/faulty_call.hpp"
#include "support/descriptors.hpp"

namespace unit {
namespace {

using bide::sys::raw;

struct places {
  char folder[32] = "/tmp/bide-faults.XXXXXX";
  std::string path, fifo;
  fd file, partner;
  char buffer[8] = {};
  iovec two[2] = {{buffer, 4}, {buffer + 4, 4}};
  open_how how{O_RDONLY | O_CLOEXEC, 0, 0};
  aio_context_t context = 0;

  places() {
    const std::string at = ::mkdtemp(folder);
    path = at + "/file";
    fifo = at + "/fifo";
    file = fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    constexpr char text[128] = {};
    raw(SYS_pwrite64, +file, text, sizeof text, 0);
    ::mkfifo(fifo.c_str(), 0600);
    raw(SYS_io_setup, 4, &context);
  }
  ~places() {
    raw(SYS_io_destroy, context);
    for (const std::string& each : {path, fifo}) ::unlink(each.c_str());
    ::rmdir(folder);
  }
  void with_partner() { partner = fd(raw(SYS_openat, AT_FDCWD, fifo.c_str(), O_RDWR | O_CLOEXEC, 0)); }
};

}  // namespace

faulty_calls faulty_files() {
  const auto p = std::make_shared<places>();
  const std::vector<int> disk{EIO, ENOSPC, EINTR, ENOMEM}, opens{EMFILE, ENFILE, ENOMEM, EINTR, ENOSPC};
  faulty_calls all;
  const auto add = [&](const char* name, long nr, const std::vector<int>& errors, std::function<long()> make) -> faulty_call& {
    all.push_back({name, nr, nr, errors, std::move(make)});
    return all.back();
  };
  add("pread64", SYS_pread64, disk, [p] { return make_call(SYS_pread64, p->file, p->buffer, 8, 0); });
  add("pwrite64", SYS_pwrite64, disk, [p] { return make_call(SYS_pwrite64, p->file, p->buffer, 8, 0); });
  add("preadv", SYS_preadv, disk, [p] { return make_call(SYS_preadv, p->file, p->two, 2, 0, 0); });
  add("pwritev", SYS_pwritev, disk, [p] { return make_call(SYS_pwritev, p->file, p->two, 2, 0, 0); });
  add("preadv2", SYS_preadv2, disk, [p] { return make_call(SYS_preadv2, p->file, p->two, 2, 0, 0, 0); });
  add("pwritev2", SYS_pwritev2, disk, [p] { return make_call(SYS_pwritev2, p->file, p->two, 2, 0, 0, 0); });
  add("copy_file_range", SYS_copy_file_range, disk, [p] {
    long from = 0, to = 64;
    return make_call(SYS_copy_file_range, p->file, &from, p->file, &to, 8, 0);
  });
  add("fsync", SYS_fsync, disk, [p] { return make_call(SYS_fsync, p->file); });
  add("fdatasync", SYS_fdatasync, disk, [p] { return make_call(SYS_fdatasync, p->file); });
  add("sync_file_range", SYS_sync_file_range, disk, [p] { return make_call(SYS_sync_file_range, p->file, 0, 0, 0); });
  add("syncfs", SYS_syncfs, {EIO}, [p] { return make_call(SYS_syncfs, p->file); });
  add("sync", SYS_sync, {EINTR}, [] { return make_call(SYS_sync); });
  add("msync", SYS_msync, {EIO, EBUSY, ENOMEM}, [] { return make_call(SYS_msync, nullptr, 0, MS_ASYNC); });
  add("fallocate", SYS_fallocate, disk, [p] { return make_call(SYS_fallocate, p->file, 0, 0, 128); });
  add("truncate", SYS_truncate, disk, [p] { return make_call(SYS_truncate, p->path.c_str(), 128); });
  add("ftruncate", SYS_ftruncate, disk, [p] { return make_call(SYS_ftruncate, p->file, 128); });
  add("readahead", SYS_readahead, {EBADF, EINVAL}, [p] { return make_call(SYS_readahead, p->file, 0, 8); });
  add("open", SYS_open, opens, [p] { return closed(make_call(SYS_open, p->path.c_str(), O_RDONLY, 0)); });
  add("openat", SYS_openat, opens, [p] { return closed(make_call(SYS_openat, AT_FDCWD, p->path.c_str(), O_RDONLY, 0)); });
  add("openat2", SYS_openat2, opens,
      [p] { return closed(make_call(SYS_openat2, AT_FDCWD, p->path.c_str(), &p->how, sizeof p->how)); });
  add("creat", SYS_creat, opens, [p] { return closed(make_call(SYS_creat, p->path.c_str(), 0600)); });
  const auto meets = [&](const char* name, long nr, std::function<long()> make) {
    faulty_call& c = add(name, nr, {EMFILE, ENFILE, ENOMEM, ENXIO}, std::move(make));
    c.between([p] { p->partner.close(); }, [p] { p->with_partner(); }).elsewhere = true;
  };
  meets("open of a FIFO", SYS_open, [p] { return closed(make_call(SYS_open, p->fifo.c_str(), O_RDONLY, 0)); });
  meets("creat of a FIFO", SYS_creat, [p] { return closed(make_call(SYS_creat, p->fifo.c_str(), 0600)); });
  meets("openat of a FIFO", SYS_openat, [p] { return closed(make_call(SYS_openat, AT_FDCWD, p->fifo.c_str(), O_RDONLY, 0)); });
  meets("openat2 of a FIFO", SYS_openat2,
        [p] { return closed(make_call(SYS_openat2, AT_FDCWD, p->fifo.c_str(), &p->how, sizeof p->how)); });
  add("getrandom", SYS_getrandom, {EINTR, ENOSYS}, [p] { return make_call(SYS_getrandom, p->buffer, 8, 0); })
      .waits_elsewhere(-EAGAIN);
  // A clock that counts somebody's work has no timer here.
  add("clock_nanosleep", SYS_clock_nanosleep, {EINVAL, EOPNOTSUPP}, [] {
    constexpr timespec past{0, 1};
    return make_call(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &past, nullptr);
  }).elsewhere = true;
  // Their calls alone: whether this kernel has keys or contexts of that kind at all is for it to say.
  add("io_getevents", SYS_io_getevents, {EFAULT, EINVAL}, [p] { return make_call(SYS_io_getevents, p->context, 0, 0, nullptr, nullptr); })
      .answers([p](long n) { return n == raw(SYS_io_getevents, p->context, 0, 0, nullptr, nullptr); }).elsewhere = true;
  add("io_pgetevents", SYS_io_pgetevents, {EFAULT, EINVAL},
      [p] { return make_call(SYS_io_pgetevents, p->context, 0, 0, nullptr, nullptr, nullptr); })
      .answers([p](long n) { return n == raw(SYS_io_pgetevents, p->context, 0, 0, nullptr, nullptr, nullptr); }).elsewhere = true;
  add("request_key", SYS_request_key, {EDQUOT, ENOMEM, EACCES}, [] { return make_call(SYS_request_key, "user", "bide-faults", nullptr, 0); })
      .answers([](long n) { return n == raw(SYS_request_key, "user", "bide-faults", nullptr, 0); }).elsewhere = true;
  add("io_uring_setup", SYS_io_uring_setup, {EMFILE, ENFILE, ENOMEM, EPERM}, [] {
    io_uring_params how{};
    return closed(make_call(SYS_io_uring_setup, 4, &how));
  }).answers([](long n) {
    io_uring_params how{};
    const long natively = raw(SYS_io_uring_setup, 4, &how);
    if (natively >= 0) raw(SYS_close, natively);
    return n >= 0 ? natively >= 0 : n == natively;
  });
  return all;
}

}  // namespace unit
