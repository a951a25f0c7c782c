#include "lib/io/offload.hpp"

#include <doctest/doctest.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <vector>

#include "lib/base/clock.hpp"
#include "lib/call/border.hpp"
#include "lib/sys/raw.hpp"
#include "support/descriptors.hpp"
#include "support/runtime.hpp"
#include "support/sanitizer.hpp"

using namespace unit;
using bide::sys::raw;

namespace {

// A file, locked from the start by a description of its own: whoever wants the lock as well waits in the kernel.
class locked_file {
 public:
  locked_file() : holder_(raw(SYS_memfd_create, "locked", 0)) {
    struct flock whole = lock();
    CHECK(raw(SYS_fcntl, static_cast<int>(holder_), F_OFD_SETLK, &whole) == 0);
  }
  static struct flock lock() {
    struct flock whole {};
    whole.l_type = F_WRLCK;
    return whole;
  }
  fd another() const {
    return fd(::open(("/proc/self/fd/" + std::to_string(holder_)).c_str(), O_RDWR | O_CLOEXEC));
  }
  void let_go() {
    struct flock whole = lock();
    whole.l_type = F_UNLCK;
    raw(SYS_fcntl, static_cast<int>(holder_), F_OFD_SETLK, &whole);
  }

 private:
  fd holder_;
};

long take_lock(int file) {
  struct flock whole = locked_file::lock();
  return make_call(SYS_fcntl, file, F_OFD_SETLKW, &whole);
}

void until_in_kernel() {
  until([] { return bide::io::offload_busy() > 0; });
  bide::sleep_for(std::chrono::milliseconds(20));  // no step tells that a thread sleeps in the kernel
}

}  // namespace

TEST_SUITE("io/offload") {
  TEST_CASE("work runs on another kernel thread, and its fiber parks meanwhile") {
    on_workers([] {
      std::atomic<bool> go{false};
      long thread = 0;
      auto waits = bide::spawn([&] {
        const auto work = [&] {
          thread = raw(SYS_gettid);
          while (!go) raw(SYS_sched_yield);
        };
        bide::offload(work);
      });
      until_parked(1);
      CHECK(bide::io::offload_busy() == 1);
      CHECK(bide::io::offload_threads() >= 1);
      go = true;
      waits.join();
      CHECK(thread != raw(SYS_gettid));
      until([] { return bide::io::offload_busy() == 0; });
    });
  }

  TEST_CASE("on a plain thread work runs there") {
    long thread = 0;
    CHECK(bide::io::offload([](void* p) { *static_cast<long*>(p) = raw(SYS_gettid); }, &thread, "a test") == 0);
    CHECK(thread == raw(SYS_gettid));
  }

  TEST_CASE("threads come with demand up to the limit, and jobs beyond wait their turn") {
    in_runtime([] {
      std::atomic<bool> go{false};
      std::atomic<int> now{0}, most{0}, sum{0};
      std::vector<bide::task<void>> tasks;
      for (int i = 0; i < 20; ++i) {
        tasks.push_back(bide::spawn([&] {
          bide::offload([&] {
            const int here = ++now;
            for (int seen = most; here > seen && !most.compare_exchange_weak(seen, here);) {
            }
            while (!go) raw(SYS_sched_yield);
            --now;
            ++sum;
          });
        }));
      }
      until_parked(20);
      until([&] { return now == 3; });
      CHECK(bide::io::offload_busy() == 20);
      CHECK(bide::io::offload_threads() == 3);
      go = true;
      for (auto& t : tasks) t.join();
      CHECK(most == 3);
      CHECK(sum == 20);
    }, {.offload_threads = 3});
    CHECK(bide::io::offload_threads() == 0);
  }

  TEST_CASE("waits for one another have threads beyond the limit, to which the rest keeps even when those are idle") {
    in_runtime([] {
      constexpr int count = 20;
      std::atomic<int> turn{0}, now{0}, most{0};
      std::vector<bide::task<void>> tasks;
      for (int i = count; i-- > 0;) {
        tasks.push_back(bide::spawn([&, i] {
          const auto wait = [&turn, i] {
            while (turn != i) raw(SYS_sched_yield);
            ++turn;
          };
          using work = decltype(wait);
          bide_await_elsewhere([](void* w) { (*static_cast<work*>(w))(); }, const_cast<void*>(static_cast<const void*>(&wait)),
                               "its turn");
        }));
      }
      for (auto& t : tasks) t.join();
      CHECK(turn == count);
      tasks.clear();
      for (int i = 0; i < count; ++i) {
        tasks.push_back(bide::spawn([&] {
          bide::offload([&] {
            const int here = ++now;
            for (int seen = most; here > seen && !most.compare_exchange_weak(seen, here);) {
            }
            raw(SYS_sched_yield);
            --now;
          });
        }));
      }
      for (auto& t : tasks) t.join();
      CHECK(most == 1);
    }, {.offload_threads = 1});
    CHECK(bide::io::offload_threads() == 0);
  }

  TEST_CASE("a thread that has nothing to do for a second ends") {
    in_runtime([] {
      bide::offload([] {});
      CHECK(bide::io::offload_threads() == 1);
      const std::int64_t began = bide::base::now();
      until([&] { return bide::io::offload_threads() == 0 || bide::base::now() - began > 20 * bide::base::second; });
      CHECK(bide::io::offload_threads() == 0);
      CHECK(bide::base::now() - began > bide::base::second * 9 / 10);
      bide::offload([] {});
    });
  }

  TEST_CASE("a call in the kernel ends with its result") {
    on_workers([] {
      locked_file file;
      const fd mine = file.another();
      auto waits = bide::spawn([&] { return take_lock(mine); });
      until_in_kernel();
      CHECK_FALSE(waits.done());
      file.let_go();
      CHECK(waits.get() == 0);
    });
  }

  TEST_CASE("a call in the kernel ends by a cancel, which is consumed") {
    on_workers([] {
      locked_file file;
      const fd mine = file.another();
      auto waits = bide::spawn([&] {
        const long ended = take_lock(mine);
        bide::sleep_for(std::chrono::microseconds(1));  // would throw
        return ended;
      });
      until_in_kernel();
      waits.cancel();
      CHECK(waits.get() == -ECANCELED);
    });
  }

  TEST_CASE("a cancel that comes before the call begins ends it as well") {
    in_runtime([] {
      locked_file file;
      const fd mine = file.another();
      auto waits = bide::spawn([&] { return take_lock(mine); });
      waits.cancel();
      CHECK(waits.get() == -ECANCELED);
    });
  }

  TEST_CASE("a call in the kernel ends by the close of its descriptor") {
    on_workers([] {
      locked_file file;
      fd mine = file.another();
      auto waits = bide::spawn([file = mine.number()] { return take_lock(file); });
      until_in_kernel();
      CHECK(mine.close() == 0);
      CHECK(waits.get() == -EBADF);
    });
  }

  TEST_CASE("a signal handler ends a call in the kernel, unless it asks for its restart") {
    on_workers([] {
      locked_file file;
      const fd mine = file.another();
      std::atomic<bool> ended{false};
      auto notes = bide::spawn([&] {
        until_in_kernel();
        bide_note_signal(true);
        bide::sleep_for(std::chrono::milliseconds(20));
        CHECK_FALSE(ended);
        // One that comes while the call begins anew interrupts nothing, as natively.
        for (; !ended; bide::sleep_for(std::chrono::milliseconds(20))) bide_note_signal(false);
      });
      CHECK(take_lock(mine) == -EINTR);  // the first fiber: a thread's main one, which has the signals
      ended = true;
      notes.join();
    });
  }

  TEST_CASE("a call that still waits for a thread ends without one") {
    in_runtime([] {
      std::atomic<bool> go{false};
      auto holds = bide::spawn([&] {
        bide::offload([&] {
          while (!go) raw(SYS_sched_yield);
        });
      });
      until([] { return bide::io::offload_threads() == 1; });
      locked_file file;
      const fd mine = file.another();
      auto waits = bide::spawn([&] { return take_lock(mine); });
      auto behind = bide::spawn([] { bide::offload([] {}); });
      until_parked(3);
      waits.cancel();
      CHECK(waits.get() == -ECANCELED);
      CHECK_FALSE(holds.done());
      go = true;
      behind.join();
      holds.join();
    }, {.offload_threads = 1});
  }

  TEST_CASE("many calls are ended at once, and threads serve on") {
    on_workers([] {
      for (int round = 0; round < rounds(20); ++round) {
        locked_file file;
        const fd mine = file.another();
        std::vector<bide::task<long>> waits;
        for (int i = 0; i < 8; ++i) waits.push_back(bide::spawn([&] { return take_lock(mine); }));
        until_parked(8);
        for (auto& w : waits) w.cancel();
        for (auto& w : waits) CHECK(w.get() == -ECANCELED);
        int ran = 0;
        bide::offload([&] { ++ran; });
        CHECK(ran == 1);
      }
    });
  }

  // What a left job owns: counted, as it is by its thread.
  struct owned {
    static inline std::atomic<int> begun{0}, dropped{0};
    std::atomic<bool>* go;
    static void work(void* p) {
      ++begun;
      while (!*static_cast<owned*>(p)->go) raw(SYS_sched_yield);
    }
    static void drop(void* p) {
      ++dropped;
      delete static_cast<owned*>(p);
    }
    static int run(std::atomic<bool>& go) { return bide_offload_apart(work, drop, new owned{&go}, "a test", bide_counted); }
  };

  TEST_CASE("a job apart is its caller's again at its end; left by a cancel, it ends on its thread, which counts") {
    in_runtime([] {
      owned::begun = owned::dropped = 0;
      std::atomic<bool> go{true};
      auto* const mine = new owned{&go};
      CHECK(bide_offload_apart(owned::work, owned::drop, mine, "a test", bide_counted) == 0);
      CHECK(owned::dropped == 0);
      delete mine;

      go = false;
      auto waits = bide::spawn([&] {
        const long ended = owned::run(go);
        bide::sleep_for(std::chrono::microseconds(1));  // would throw
        return ended;
      });
      until([] { return owned::begun == 2; });
      CHECK(bide::io::offload_busy() == 1);
      waits.cancel();
      CHECK(waits.get() == -ECANCELED);
      CHECK(bide::io::offload_busy() == 0);  // nobody is woken by it
      CHECK(owned::dropped == 0);

      // The thread is the only one: who comes now waits for it, and is ended without having begun.
      auto behind = bide::spawn([&] { return owned::run(go); });
      until_parked(1);
      behind.cancel();
      CHECK(behind.get() == -ECANCELED);
      CHECK(owned::dropped == 1);
      CHECK(owned::begun == 2);
      {
        bide::timeout past(std::chrono::seconds(-1));
        CHECK(owned::run(go) == -ETIMEDOUT);
      }
      CHECK(owned::dropped == 2);
      go = true;
      bide::offload([] {});
      until([] { return owned::dropped == 3; });
      CHECK(owned::begun == 2);
    }, {.offload_threads = 1});
    CHECK(bide::io::offload_threads() == 0);
  }

  TEST_CASE("who is cancelled before a job apart never begins it, though threads are idle") {
    in_runtime([] {  // one worker: the fiber has not begun yet
      owned::begun = owned::dropped = 0;
      std::atomic<bool> go{true};
      bide::offload([] {});
      auto waits = bide::spawn([&] { return owned::run(go); });
      waits.cancel();
      CHECK(waits.get() == -ECANCELED);
      CHECK(owned::begun == 0);
      CHECK(owned::dropped == 1);
    });
  }

  TEST_CASE("the last runtime does not wait for a job that was left, nor does the next one count it") {
    owned::begun = owned::dropped = 0;
    std::atomic<bool> go{false};
    bide::run([&] {
      auto waits = bide::spawn([&] { return owned::run(go); });
      until([] { return owned::begun == 1; });
      waits.cancel();
      CHECK(waits.get() == -ECANCELED);
    }, {.offload_threads = 1});
    CHECK(owned::dropped == 0);
    CHECK(bide::io::offload_threads() == 1);
    bide::run([] {
      int ran = 0;
      bide::offload([&] { ++ran; });
      CHECK(ran == 1);
      CHECK(bide::io::offload_threads() == 2);
    }, {.offload_threads = 1});
    CHECK(bide::io::offload_threads() == 1);
    go = true;
    while (bide::io::offload_threads() != 0) raw(SYS_sched_yield);
    CHECK(owned::dropped == 1);
  }

  TEST_CASE("a call that is ended by pthread_cancel takes its thread along, and others serve on") {
    on_workers([] {
      for (int round = 0; round < rounds(5); ++round) {
        std::atomic<int> unwound{0};
        std::atomic<bool> there{false};
        const auto wait = [&] {
          struct note {
            std::atomic<int>& n;
            ~note() { ++n; }
          } at_end{unwound};
          there = true;
          pause();
          return 0L;
        };
        auto waits = bide::spawn([&] {
          return bide_await_call([](void* w) { return (*static_cast<decltype(wait)*>(w))(); },
                                 const_cast<void*>(static_cast<const void*>(&wait)), "a test", bide_by_cancel);
        });
        until([&] { return there.load(); });
        waits.cancel();
        CHECK(waits.get() == -ECANCELED);
        CHECK(unwound == 1);
        int ran = 0;
        bide::offload([&] { ++ran; });
        CHECK(ran == 1);
      }
    });
    CHECK(bide::io::offload_threads() == 0);
  }
}
