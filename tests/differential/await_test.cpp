#include <doctest/doctest.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <threads.h>
#include <unistd.h>

#include <atomic>
#include <future>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

sigset_t blocked(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (const int n : numbers) sigaddset(&set, n);
  must(pthread_sigmask(SIG_BLOCK, &set, nullptr), "pthread_sigmask");
  return set;
}

long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value, const timespec* limit = nullptr,
           std::uint32_t bits = 0) {
  return syscall(SYS_futex, &word, operation, value, limit, nullptr, bits);
}

}  // namespace

TEST_SUITE("differential/sigwait") {
  TEST_CASE("each spelling waits for a signal that is blocked") {
    compare([](actor& me) {
      const sigset_t set = blocked({SIGUSR1, SIGUSR2});
      const pthread_t here = pthread_self();
      actor& peer = me.start("peer", [&](actor& peer) {
        for (const int number : {SIGUSR1, SIGUSR2, SIGUSR1}) {
          peer.until_waiting(me);
          must(pthread_kill(here, number), "pthread_kill");
          moment(30ms);
        }
      });
      siginfo_t info{};
      me.call("sigwaitinfo", [&] { return sigwaitinfo(&set, &info); });
      me.note("number", info.si_signo);
      me.note("from the process itself", info.si_code == SI_USER && info.si_pid == getpid());
      int number = 0;
      me.call("sigwait", [&] { return sigwait(&set, &number); });
      me.note("number", number);
      const timespec length{10, 0};
      me.call("sigtimedwait", [&] { return sigtimedwait(&set, &info, &length); });
      me.join(peer);
    });
  }

  TEST_CASE("one that is pending already is taken at once") {
    compare([](actor& me) {
      const sigset_t set = blocked({SIGUSR1});
      must(pthread_kill(pthread_self(), SIGUSR1), "pthread_kill");
      me.call_for(0ms, "sigwaitinfo", [&] { return sigwaitinfo(&set, nullptr); });
    });
  }

  TEST_CASE("sigtimedwait gives up after its time") {
    compare([](actor& me) {
      const sigset_t set = blocked({SIGUSR1});
      const timespec length{0, 100'000'000}, nothing{}, strange{0, 2'000'000'000};
      me.call_for(100ms, "sigtimedwait", [&] { return sigtimedwait(&set, nullptr, &length); });
      me.call_for(0ms, "for no time", [&] { return sigtimedwait(&set, nullptr, &nothing); });
      me.call("a time that makes no sense", [&] { return sigtimedwait(&set, nullptr, &strange); });
    });
  }

  TEST_CASE("another signal's handler ends sigwaitinfo, and not sigwait") {
    compare([](actor& me) {
      const counting_handler counted(SIGUSR2, 0);
      const sigset_t set = blocked({SIGUSR1});
      const pthread_t here = pthread_self();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(pthread_kill(here, SIGUSR2), "pthread_kill");
        moment(50ms);
        peer.until_waiting(me);
        must(pthread_kill(here, SIGUSR2), "pthread_kill");
        moment(50ms);
        must(pthread_kill(here, SIGUSR1), "pthread_kill");
      });
      me.call("sigwaitinfo", [&] { return sigwaitinfo(&set, nullptr); });
      int number = 0;
      me.call("sigwait", [&] { return sigwait(&set, &number); });
      me.note("handled", counted.count());
      me.join(peer);
    });
  }
}

TEST_SUITE("differential/pause") {
  TEST_CASE("pause and sigsuspend last until a handler has run") {
    for (const int flags : {0, SA_RESTART}) {
      CAPTURE(flags);
      compare([flags](actor& me) {
        const counting_handler one(SIGUSR1, flags), two(SIGUSR2, flags);
        const pthread_t here = pthread_self();
        actor& peer = me.start("peer", [&](actor& peer) {
          for (const int number : {SIGUSR1, SIGUSR2}) {
            peer.until_waiting(me);
            must(pthread_kill(here, number), "pthread_kill");
            moment(50ms);
          }
        });
        me.call("pause", [] { return pause(); });
        me.note("handled", one.count() * 10 + two.count());
        sigset_t none;
        sigemptyset(&none);
        me.call("sigsuspend", [&] { return sigsuspend(&none); });
        me.note("handled", one.count() * 10 + two.count());
        me.join(peer);
      });
    }
  }

  TEST_CASE("sigsuspend lets through what was pending, and puts the mask back") {
    compare([](actor& me) {
      const counting_handler counted(SIGUSR1, 0);
      blocked({SIGUSR1});
      must(pthread_kill(pthread_self(), SIGUSR1), "pthread_kill");
      me.note("handled", counted.count());
      sigset_t none, after;
      sigemptyset(&none);
      me.call_for(0ms, "sigsuspend", [&] { return sigsuspend(&none); });
      me.note("handled", counted.count());
      must(pthread_sigmask(SIG_BLOCK, nullptr, &after), "pthread_sigmask");
      me.note("blocked again", sigismember(&after, SIGUSR1));
    });
  }
}

TEST_SUITE("differential/futex") {
  TEST_CASE("a futex waits for a wake, private or not") {
    for (const int shared : {0, FUTEX_PRIVATE_FLAG}) {
      CAPTURE(shared);
      compare([shared](actor& me) {
        std::atomic<std::uint32_t> word = 0;
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          word = 1;
          peer.call("wake", [&] { return futex(word, FUTEX_WAKE | shared, 10); });
        });
        me.call("wait", [&] { return futex(word, FUTEX_WAIT | shared, 0); });
        me.join(peer);
        me.call("wait for another value", [&] { return futex(word, FUTEX_WAIT | shared, 0); });
        me.call("wake nobody", [&] { return futex(word, FUTEX_WAKE | shared, 10); });
        const timespec length{0, 80'000'000};
        me.call_for(80ms, "wait for a time", [&] { return futex(word, FUTEX_WAIT | shared, 1, &length); });
      });
    }
  }

  TEST_CASE("of several words the one that is woken is told, with its value waited for no longer") {
    compare([](actor& me) {
      std::atomic<std::uint32_t> words[3] = {};
      futex_waitv all[3] = {};
      for (int i = 0; i < 3; ++i) all[i] = {0, reinterpret_cast<std::uintptr_t>(&words[i]), FUTEX_32 | FUTEX_PRIVATE_FLAG, 0};
      const auto wait = [&](unsigned count, const timespec* limit) {
        return syscall(SYS_futex_waitv, all, count, 0, limit, CLOCK_MONOTONIC);
      };
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        words[1] = 1;
        peer.call("wake", [&] { return futex(words[1], FUTEX_WAKE_PRIVATE, 10); });
      });
      me.call("wait", [&] { return wait(3, nullptr); });
      me.join(peer);
      me.call("a word has another value", [&] { return wait(3, nullptr); });
      timespec at{};
      clock_gettime(CLOCK_MONOTONIC, &at);
      ++at.tv_sec;
      me.call_for(1000ms, "until a time", [&] { return wait(1, &at); });
      me.call("no words", [&] { return wait(0, nullptr); });
    });
  }

  TEST_CASE("a handler ends a wait for several words") {
    compare([](actor& me) {
      const counting_handler counted(SIGUSR1, 0);
      std::atomic<std::uint32_t> word = 0;
      futex_waitv one{0, reinterpret_cast<std::uintptr_t>(&word), FUTEX_32 | FUTEX_PRIVATE_FLAG, 0};
      const pthread_t here = pthread_self();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(pthread_kill(here, SIGUSR1), "pthread_kill");
      });
      me.call("wait", [&] { return syscall(SYS_futex_waitv, &one, 1, 0, nullptr, CLOCK_MONOTONIC); });
      me.note("handled", counted.count());
      me.join(peer);
    });
  }

  TEST_CASE("a thread beside the fibers is woken, and wakes") {
    compare([](actor& me) {
      std::atomic<std::uint32_t> there = 0, back = 0;
      std::thread other([&] {
        while (there == 0) futex(there, FUTEX_WAIT_PRIVATE, 0);
        usleep(50'000);
        back = 1;
        futex(back, FUTEX_WAKE_PRIVATE, 1);
      });
      moment(50ms);
      there = 1;
      me.call("wake", [&] { return futex(there, FUTEX_WAKE_PRIVATE, 1); });
      me.call("wait", [&] { return back ? 0 : futex(back, FUTEX_WAIT_PRIVATE, 0); });
      other.join();
    });
  }

  TEST_CASE("what a C++ library waits for by futex waits without holding up others") {
    compare([](actor& me) {
      std::atomic<int> value = 0;
      std::promise<int> promised;
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        value = 1;
        value.notify_all();
        moment(30ms);
        peer.until_waiting(me);
        promised.set_value(7);
      });
      // What the library leaves in errno is by chance: whether the value had changed when it asked the kernel.
      me.call("atomic wait", [&] {
        const int before = errno;
        value.wait(0);
        errno = before;
        return value.load();
      });
      me.call("future", [&] {
        const int before = errno;
        const int got = promised.get_future().get();
        errno = before;
        return got;
      });
      me.join(peer);
    });
  }

  TEST_CASE("a static that one is initialising is waited for by the other") {
    compare([](actor& me) {
      const auto get = [&] {
        static const int value = [] {
          usleep(80'000);
          return 5;
        }();
        return value;
      };
      actor& peer = me.start("peer", [&](actor& peer) { peer.call("static", [&] { return get(); }); });
      me.call("static", [&] { return get(); });
      me.join(peer);
    });
  }
}

TEST_SUITE("differential/aio") {
  TEST_CASE("completions are waited for, as many as wanted, for a time, and until a handler has run") {
    struct mask_of {
      const sigset_t* set;
      std::size_t size;
    };
    for (const long nr : {SYS_io_getevents, SYS_io_pgetevents}) {
      CAPTURE(nr);
      compare([nr](actor& me) {
        const counting_handler counted(SIGUSR1, 0);
        aio_context_t context = 0;
        if (me.call("io_setup", [&] { return syscall(SYS_io_setup, 8, &context); }) != 0) return;
        const ends e = pipe_pair();
        // Complete when there is something to read: io_submit(2).
        const auto submit = [&](std::uint64_t mark) {
          iocb poll{};
          poll.aio_data = mark;
          poll.aio_lio_opcode = IOCB_CMD_POLL;
          poll.aio_fildes = static_cast<std::uint32_t>(+e.ours);
          poll.aio_buf = POLLIN;
          iocb* list = &poll;
          must(syscall(SYS_io_submit, context, 1, &list), "io_submit");
        };
        io_event done[4] = {};
        sigset_t none;
        sigemptyset(&none);
        const mask_of mask{&none, 8};
        const auto wait = [&](long least, const timespec* limit) {
          return syscall(nr, context, least, 4, done, limit, nr == SYS_io_pgetevents ? &mask : nullptr);
        };
        submit(7), submit(7);
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until_waiting(me);
          peer.call("write", [&] { return write(e.theirs, "x", 1); });
        });
        me.call("for two", [&] { return wait(2, nullptr); });
        me.note("mark", static_cast<long>(done[0].data + done[1].data));
        me.note("ready", static_cast<long>(done[0].res & POLLIN));
        me.join(peer);
        const timespec nothing{0, 0}, length{0, 80'000'000};
        me.call_for(0ms, "for no time", [&] { return wait(1, &nothing); });
        me.call_for(80ms, "for a time", [&] { return wait(1, &length); });
        me.call_for(0ms, "for none", [&] { return wait(0, nullptr); });
        const pthread_t here = pthread_self();
        actor& other = me.start("other", [&](actor& other) {
          other.until_waiting(me);
          must(pthread_kill(here, SIGUSR1), "pthread_kill");
        });
        me.call("until a handler has run", [&] { return wait(1, nullptr); });
        me.note("handled", counted.count());
        me.join(other);
        me.call("more than there may be", [&] { return wait(5, nullptr); });
        must(syscall(SYS_io_destroy, context), "io_destroy");
        me.call("a context that is gone", [&] { return wait(1, nullptr); });
      });
    }
  }
}

TEST_SUITE("differential/keys") {
  TEST_CASE("a key is found, or not, and there is nobody to make it") {
    compare([](actor& me) {
      const auto request = [](const char* name, const char* told) { return syscall(SYS_request_key, "user", name, told, 0); };
      const long made = syscall(SYS_add_key, "user", "bide-differential", "secret", 6, -2);  // KEY_SPEC_PROCESS_KEYRING
      me.note("made", made > 0);
      me.call("one that is there", [&] { return request("bide-differential", nullptr) == made ? 0 : -1; });
      me.call("one that isn't", [&] { return request("bide-differential-none", nullptr); });
      const std::string fresh = "bide-differential-" + std::to_string(getpid());
      me.call("one that isn't, and nobody makes it", [&] { return request(fresh.c_str(), "what for"); });
      me.call("a type there is none of", [] { return syscall(SYS_request_key, "bide", "bide", nullptr, 0); });
      me.call("from a bad place", [] { return syscall(SYS_request_key, "user", bad_address(), nullptr, 0); });
    });
  }
}

TEST_SUITE("differential/yield") {
  TEST_CASE("giving way succeeds in each spelling") {
    compare([](actor& me) {
      me.call("sched_yield", [] { return sched_yield(); });
      me.call("syscall", [] { return syscall(SYS_sched_yield); });
      const timespec length{0, 50'000'000};
      me.call_for(50ms, "thrd_sleep", [&] { return thrd_sleep(&length, nullptr); });
      thrd_yield();
    });
  }

  TEST_CASE("raw calls answer as the named ones") {
    compare([](actor& me) {
      ends e = pipe_pair();
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("write", [&] { return syscall(SYS_write, +e.theirs, "hello", 5); });
      });
      char room[8];
      me.call("read", [&] { return syscall(SYS_read, +e.ours, room, sizeof room); });
      me.join(peer);
      me.call("a number that is none", [] { return syscall(99999); });
      me.call("getpid", [] { return syscall(SYS_getpid) == getpid() ? 1 : 0; });
    });
  }
}
