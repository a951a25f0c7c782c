#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pty.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

// A folder with a FIFO in it, gone with its scope.
class named_fifo {
 public:
  named_fifo() {
    char made[] = "/tmp/differential.XXXXXX";
    if (!mkdtemp(made)) must(-1, "mkdtemp");
    folder = made;
    path = folder + "/fifo";
    must(mkfifo(path.c_str(), 0600), "mkfifo");
  }
  ~named_fifo() {
    unlink(path.c_str());
    rmdir(folder.c_str());
  }
  std::string folder, path;
};

// Another process that holds a lock on a file until it is told to end.
template <class Lock>
class holder {
 public:
  explicit holder(Lock lock) {
    must(pipe2(told_, O_CLOEXEC), "pipe2");
    must(pipe2(ready_, O_CLOEXEC), "pipe2");
    child_ = static_cast<pid_t>(must(fork(), "fork"));
    if (child_ == 0) {
      char c = lock() == 0 ? 'y' : 'n';
      if (write(ready_[1], &c, 1) == 1 && read(told_[0], &c, 1) >= 0) _exit(0);
      _exit(1);
    }
    char c = 'n';
    if (read(ready_[0], &c, 1) != 1 || c != 'y') throw broken_scenario{"the other process got no lock"};
  }
  void let_go() { must(write(told_[1], "x", 1), "write"); }
  ~holder() {
    waitpid(child_, nullptr, 0);
    for (const int n : {told_[0], told_[1], ready_[0], ready_[1]}) close(n);
  }

 private:
  int told_[2], ready_[2];
  pid_t child_;
};

struct flock whole_file() {
  struct flock all {};
  all.l_type = F_WRLCK;
  all.l_whence = SEEK_SET;
  return all;
}

}  // namespace

TEST_SUITE("differential/locks") {
  TEST_CASE("flock waits until another description lets go") {
    compare([](actor& me) {
      const fd file = regular_file("");
      const std::string again = "/proc/self/fd/" + std::to_string(+file);
      const fd other(must(open(again.c_str(), O_RDWR | O_CLOEXEC), "open"));
      me.call("flock", [&] { return flock(file, LOCK_EX); });
      me.call("flock LOCK_NB", [&] { return flock(other, LOCK_EX | LOCK_NB); });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("LOCK_UN", [&] { return flock(file, LOCK_UN); });
      });
      me.call("flock of the other", [&] { return flock(other, LOCK_SH); });
      me.join(peer);
      me.call("no operation", [&] { return flock(other, 0); });
      me.call("what is closed", [&] { return flock(999, LOCK_EX); });
    });
  }

  TEST_CASE("a record lock waits for another process") {
    compare([](actor& me) {
      const fd file = regular_file("abc");
      const int number = file;
      struct flock all = whole_file();
      holder others([&] { return fcntl(number, F_SETLK, &all); });
      me.call("F_SETLK", [&] { return fcntl(file, F_SETLK, &all); });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        others.let_go();
      });
      me.call("F_SETLKW", [&] { return fcntl(file, F_SETLKW, &all); });
      me.join(peer);
    });
  }

  TEST_CASE("lockf waits for another process") {
    compare([](actor& me) {
      const fd file = regular_file("abc");
      const int number = file;
      holder others([&] { return lockf(number, F_LOCK, 0); });
      me.call("F_TLOCK", [&] { return lockf(file, F_TLOCK, 0); });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        others.let_go();
      });
      me.call("F_LOCK", [&] { return lockf(file, F_LOCK, 0); });
      me.join(peer);
      me.call("F_ULOCK", [&] { return lockf(file, F_ULOCK, 0); });
    });
  }

  TEST_CASE("a lock of an open description waits for one within the process") {
    compare([](actor& me) {
      const fd file = regular_file("abc");
      const std::string again = "/proc/self/fd/" + std::to_string(+file);
      const fd other(must(open(again.c_str(), O_RDWR | O_CLOEXEC), "open"));
      struct flock all = whole_file();
      me.call("F_OFD_SETLKW", [&] { return fcntl(file, F_OFD_SETLKW, &all); });
      me.call("F_OFD_SETLK", [&] { return fcntl(other, F_OFD_SETLK, &all); });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        struct flock none = whole_file();
        none.l_type = F_UNLCK;
        peer.call("unlock", [&] { return fcntl(file, F_OFD_SETLK, &none); });
      });
      me.call("F_OFD_SETLKW of the other", [&] { return fcntl(other, F_OFD_SETLKW, &all); });
      me.join(peer);
    });
  }
}

TEST_SUITE("differential/open") {
  TEST_CASE("a FIFO's ends wait for each other") {
    for (const bool reader_first : {true, false}) {
      CAPTURE(reader_first);
      compare([reader_first](actor& me) {
        const named_fifo fifo;
        fd ends[2];
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          peer.call("open", [&] {
            ends[1] = fd(open(fifo.path.c_str(), (reader_first ? O_WRONLY : O_RDONLY) | O_CLOEXEC));
            return ends[1] < 0 ? -1 : 0;
          });
        });
        me.call("open", [&] {
          ends[0] = fd(open(fifo.path.c_str(), (reader_first ? O_RDONLY : O_WRONLY) | O_CLOEXEC));
          return ends[0] < 0 ? -1 : 0;
        });
        me.join(peer);
        const fd& in = ends[reader_first ? 0 : 1];
        const fd& out = ends[reader_first ? 1 : 0];
        me.call("write", [&] { return write(out, "hello", 5); });
        me.note("bytes", read_all(in, 5));
      });
    }
  }

  TEST_CASE("openat2 of a FIFO waits for its other end, and for nothing else") {
    compare([](actor& me) {
      const named_fifo fifo;
      fd in, out;
      const auto opens = [&](std::uint64_t flags, std::size_t size = sizeof(open_how)) {
        const open_how how{flags | O_CLOEXEC, 0, 0};
        return fd(syscall(SYS_openat2, AT_FDCWD, fifo.path.c_str(), &how, size));
      };
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("a writer", [&] { return (out = opens(O_WRONLY)) < 0 ? -1 : 0; });
      });
      me.call("a reader", [&] { return (in = opens(O_RDONLY)) < 0 ? -1 : 0; });
      me.join(peer);
      me.call("write", [&] { return write(out, "hello", 5); });
      me.note("bytes", read_all(in, 5));
      in.close(), out.close();
      me.call("a writer that won't wait", [&] { return opens(O_WRONLY | O_NONBLOCK) < 0 ? -1 : 0; });
      me.call("a structure too short", [&] { return opens(O_RDONLY, 8) < 0 ? -1 : 0; });
      me.call("from a bad place", [&] { return syscall(SYS_openat2, AT_FDCWD, fifo.path.c_str(), bad_address(), sizeof(open_how)); });
    });
  }

  TEST_CASE("what need not wait does not") {
    compare([](actor& me) {
      const named_fifo fifo;
      const fd folder(must(open(fifo.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open"));
      const auto opens = [&](std::string_view what, auto f) { me.call(what, [&] { return fd(f()) < 0 ? -1 : 0; }); };
      opens("a writer, O_NONBLOCK", [&] { return open(fifo.path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC); });
      opens("a reader, O_NONBLOCK", [&] { return openat(folder, "fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC); });
      opens("both ends", [&] { return openat64(folder, "fifo", O_RDWR | O_CLOEXEC); });
      opens("O_PATH", [&] { return open64(fifo.path.c_str(), O_PATH | O_CLOEXEC); });
      opens("what is not there", [&] { return open((fifo.folder + "/none").c_str(), O_RDONLY); });
      opens("a new file", [&] { return openat(folder, "new", O_RDWR | O_CREAT | O_CLOEXEC, 0640); });
      struct stat s{};
      must(fstatat(folder, "new", &s, 0), "fstatat");
      me.note("mode", s.st_mode & 0777);
      opens("creat", [&] { return creat((fifo.folder + "/new").c_str(), 0600); });
      opens("a device", [&] { return open("/dev/null", O_RDWR | O_CLOEXEC); });
      opens("O_EXCL", [&] { return openat(folder, "new", O_RDWR | O_CREAT | O_EXCL, 0640); });
      opens("a bad place", [&] { return open(opaque(static_cast<const char*>(bad_address())), O_RDONLY); });
      must(unlinkat(folder, "new", 0), "unlinkat");
    });
  }
}

TEST_SUITE("differential/disk") {
  TEST_CASE("files are synced, grown and cut") {
    compare([](actor& me) {
      const fd file = regular_file("abcdef");
      me.call("fsync", [&] { return fsync(file); });
      me.call("fdatasync", [&] { return fdatasync(file); });
      me.call("sync_file_range", [&] { return sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE); });
      me.call("fallocate", [&] { return fallocate(file, 0, 0, 100); });
      me.call("ftruncate", [&] { return ftruncate(file, 50); });
      me.note("size", lseek(file, 0, SEEK_END));
      me.call("pwrite", [&] { return pwrite(file, "xyz", 3, 2); });
      char room[8] = {};
      const iovec v[2] = {{room, 2}, {room + 2, 4}};
      me.call("preadv", [&] { return preadv(file, v, 2, 0); });
      me.note("bytes", std::string_view(room));
      me.call("readahead", [&] { return readahead(file, 0, 50); });
      me.call("posix_fallocate", [&] { return posix_fallocate(file, 0, 60); });
      ends e = pipe_pair();
      me.call("fsync of a pipe", [&] { return fsync(e.ours); });
      me.call("pread of a pipe", [&] { return pread(e.ours, room, 1, 0); });
      me.call("fsync of what is closed", [&] { return fsync(999); });
    });
  }

  TEST_CASE("chance is there at once") {
    compare([](actor& me) {
      char room[16];
      me.call("getrandom", [&] { return getrandom(room, sizeof room, 0); });
      me.call("GRND_NONBLOCK", [&] { return getrandom(room, sizeof room, GRND_NONBLOCK); });
      me.call("unknown flags", [&] { return getrandom(room, sizeof room, 0x1000); });
      me.call("to a bad place", [&] { return getrandom(opaque(bad_address()), 8, 0); });
    });
  }
}

TEST_SUITE("differential/events") {
  TEST_CASE("a read of an inotify descriptor waits for a change") {
    compare([](actor& me) {
      const named_fifo place;
      const fd changes(must(inotify_init1(IN_CLOEXEC), "inotify_init1"));
      must(inotify_add_watch(changes, place.folder.c_str(), IN_CREATE), "inotify_add_watch");
      const std::string fresh = place.folder + "/fresh";
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(mkfifo(fresh.c_str(), 0600), "mkfifo");
      });
      alignas(inotify_event) char room[512];
      me.call("read", [&] { return read(changes, room, sizeof room); });
      me.note("name", std::string_view(reinterpret_cast<inotify_event*>(room)->name));
      me.join(peer);
      must(unlink(fresh.c_str()), "unlink");
      must(mkfifo(fresh.c_str(), 0600), "mkfifo");
      me.call("read into too little", [&] { return read(changes, room, 1); });
      unlink(fresh.c_str());
    });
  }

  TEST_CASE("a read of a signalfd waits for a signal") {
    compare([](actor& me) {
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, SIGUSR2);
      must(pthread_sigmask(SIG_BLOCK, &set, nullptr), "pthread_sigmask");
      const fd signals(must(signalfd(-1, &set, SFD_CLOEXEC), "signalfd"));
      const pthread_t here = pthread_self();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(pthread_kill(here, SIGUSR2), "pthread_kill");
      });
      signalfd_siginfo got{};
      me.call("read", [&] { return read(signals, &got, sizeof got); });
      me.note("number", got.ssi_signo);
      me.join(peer);
    });
  }

  TEST_CASE("eventfd_read waits for eventfd_write") {
    compare([](actor& me) {
      const fd count(must(eventfd(0, EFD_CLOEXEC), "eventfd"));
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("eventfd_write", [&] { return eventfd_write(count, 3); });
      });
      eventfd_t value = 0;
      me.call("eventfd_read", [&] { return eventfd_read(count, &value); });
      me.note("count", value);
      me.join(peer);
    });
  }

  TEST_CASE("a pidfd is polled for, not read") {
    compare([](actor& me) {
      const pid_t child = static_cast<pid_t>(must(fork(), "fork"));
      if (child == 0) {
        usleep(60'000);
        _exit(0);
      }
      const fd at(must(syscall(SYS_pidfd_open, child, 0), "pidfd_open"));
      char c;
      me.call("read", [&] { return read(at, &c, 1); });
      pollfd p{at, POLLIN, 0};
      me.call("poll", [&] { return poll(&p, 1, 5000); });
      must(waitpid(child, nullptr, 0), "waitpid");
    });
  }
}

TEST_SUITE("differential/terminal") {
  TEST_CASE("a terminal drains and takes settings after that") {
    compare([](actor& me) {
      ends e = pty_pair();
      termios how{};
      must(tcgetattr(e.ours, &how), "tcgetattr");
      me.call("write", [&] { return write(e.ours, "hello", 5); });
      me.call("tcsetattr TCSADRAIN", [&] { return tcsetattr(e.ours, TCSADRAIN, &how); });
      me.call("tcsetattr TCSAFLUSH", [&] { return tcsetattr(e.ours, TCSAFLUSH, &how); });
      me.call("tcdrain", [&] { return tcdrain(e.ours); });
      me.call("tcsendbreak", [&] { return tcsendbreak(e.ours, 0); });
      me.note("bytes", read_all(e.theirs, 5));
      ends p = pipe_pair();
      me.call("tcdrain of a pipe", [&] { return tcdrain(p.ours); });
      me.call("tcsetattr of a pipe", [&] { return tcsetattr(p.ours, TCSADRAIN, &how); });
    });
  }
}
