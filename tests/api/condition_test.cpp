// What a cancel and a deadline do to a wait that has no answer for them: for a condition variable of libc's, by futex(2).
#include "support.hpp"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <latch>
#include <mutex>
#include <semaphore>
#include <vector>

using namespace api;

namespace {

constexpr bide::spawn_options unwinding{.libc_calls = bide::ended_call::unwinds};

timespec in_an_hour(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  t.tv_sec += 3600;
  return t;
}

struct meeting {
  pthread_mutex_t mutex;
  pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
  bool ready = false;

  meeting() {
    // An error-checking one says who unlocks it without holding it.
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_settype(&how, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&mutex, &how);
  }
  ~meeting() { CHECK(pthread_mutex_destroy(&mutex) == 0); }

  int wait() { return pthread_cond_wait(&changed, &mutex); }
  int timed_wait() {
    const timespec until = in_an_hour(CLOCK_REALTIME);
    return pthread_cond_timedwait(&changed, &mutex, &until);
  }
  void make_ready() {
    CHECK(pthread_mutex_lock(&mutex) == 0);
    ready = true;
    CHECK(pthread_cond_broadcast(&changed) == 0);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
  }
  bool is_held() { return pthread_mutex_trylock(&mutex) == EBUSY; }
};

bool next_call_says(int error) { return usleep(2'000'000) == -1 && errno == error; }

// Every way to wait for a condition of libc's: with the mutex held, until it is signalled.
struct way {
  const char* name;
  std::function<int(meeting&)> wait;
  int at_deadline;  // the answer of one that doesn't unwind
};
const std::vector<way> ways{
    {"pthread_cond_wait", [](meeting& m) { return m.wait(); }, 0},
    {"pthread_cond_timedwait", [](meeting& m) { return m.timed_wait(); }, ETIMEDOUT},
    {"pthread_cond_clockwait", [](meeting& m) {
      const timespec until = in_an_hour(CLOCK_MONOTONIC);
      return pthread_cond_clockwait(&m.changed, &m.mutex, CLOCK_MONOTONIC, &until);
    }, ETIMEDOUT},
    {"cnd_wait", [](meeting& m) { return cnd_wait(reinterpret_cast<cnd_t*>(&m.changed), reinterpret_cast<mtx_t*>(&m.mutex)); },
     thrd_success},
    {"cnd_timedwait", [](meeting& m) {
      const timespec until = in_an_hour(CLOCK_REALTIME);
      return cnd_timedwait(reinterpret_cast<cnd_t*>(&m.changed), reinterpret_cast<mtx_t*>(&m.mutex), &until);
    }, thrd_timedout},
};

}  // namespace

// asyncio: Condition.wait() that is cancelled raises CancelledError with the lock held again.
// ThreadSanitizer waits for a condition within its own, where it ignores whatever orders the runtime's accesses.
TEST_SUITE("api/condition" * doctest::skip(tsan)) {
  TEST_CASE("a cancel ends a wait for a condition as if it was woken for nothing, and the next call says it") {
    for (const way& w : ways) {
      CAPTURE(w.name);
      bide::run([&] {
        meeting m;
        auto t = bide::spawn([&] {
          pthread_mutex_lock(&m.mutex);
          const int answer = w.wait(m);
          CHECK(m.is_held());
          pthread_mutex_unlock(&m.mutex);
          return answer == 0 && next_call_says(ECANCELED) && usleep(10) == 0;
        });
        until_parked(t);
        t.cancel();
        CHECK(t.get());
      });
    }
  }

  TEST_CASE("a deadline ends a wait for a condition, as ETIMEDOUT where the call has its own, and the next call says it") {
    for (const way& w : ways) {
      CAPTURE(w.name);
      bide::run([&] {
        meeting m;
        bide::timeout limit(5ms);
        pthread_mutex_lock(&m.mutex);
        CHECK(w.wait(m) == w.at_deadline);
        CHECK(limit.expired());
        CHECK(m.is_held());
        pthread_mutex_unlock(&m.mutex);
        CHECK(next_call_says(ETIMEDOUT));
      });
    }
  }

  TEST_CASE("who only looks at the condition waits on, without turning, and is told by the next call") {
    on_workers([] {
      meeting m;
      std::atomic<int> looks = 0;
      auto t = bide::spawn([&] {
        {
          bide::timeout limit(5ms);
          pthread_mutex_lock(&m.mutex);
          while (!m.ready) {
            ++looks;
            m.timed_wait();
          }
          pthread_mutex_unlock(&m.mutex);
          CHECK(next_call_says(ETIMEDOUT));
        }
        return next_call_says(ECANCELED);
      });
      while (looks < 2) bide::sleep_for(1ms);
      until_parked(t);
      t.cancel();
      bide::sleep_for(20ms);
      CHECK(!t.done());
      m.make_ready();
      CHECK(t.get());
      CHECK(looks == 3);  // at first, for the deadline, for the cancel
    });
  }

  TEST_CASE("a look at what else the program has to do ends such a loop") {
    bide::run([] {
      meeting m;
      bool stop = false;
      auto t = bide::spawn([&] {
        pthread_mutex_lock(&m.mutex);
        while (!m.ready && !stop) m.wait();
        pthread_mutex_unlock(&m.mutex);
      });
      until_parked(t);
      stop = true;  // and nobody signals
      t.cancel();
      CHECK(t.join(bide::deadline::after(5s)) == bide::wait_result::ready);
    });
  }

  TEST_CASE("what came before the wait doesn't end it: the condition was looked at since") {
    bide::run([] {
      meeting m;
      auto t = bide::spawn([&] {
        {
          bide::timeout past(-1s);
          pthread_mutex_lock(&m.mutex);
          CHECK(m.wait() == 0);
          CHECK(m.ready);
          pthread_mutex_unlock(&m.mutex);
          CHECK(next_call_says(ETIMEDOUT));
        }
        return next_call_says(ECANCELED);
      });
      t.cancel();
      until_parked(t);
      m.make_ready();
      CHECK(t.get());
    });
  }

  TEST_CASE("a deadline further in reaches a wait within a scope that has passed") {
    bide::run([] {
      meeting m;
      bide::timeout past(-1s), soon(5ms);
      pthread_mutex_lock(&m.mutex);
      CHECK(m.wait() == 0);
      CHECK(soon.expired());
      pthread_mutex_unlock(&m.mutex);
    });
  }

  TEST_CASE("a fiber that unwinds is thrown out of a wait for a condition, with the mutex held") {
    for (const way& w : ways) {
      CAPTURE(w.name);
      on_workers([&] {
        meeting m;
        const auto waits = [&] {
          struct letting_go {
            meeting& m;
            ~letting_go() {
              CHECK(m.is_held());
              pthread_mutex_unlock(&m.mutex);
            }
          };
          pthread_mutex_lock(&m.mutex);
          const letting_go at_end{m};
          while (!m.ready) w.wait(m);
        };
        auto cancelled = bide::spawn(unwinding, waits);
        auto late = bide::spawn(unwinding, [&] {
          bide::timeout limit(5ms);
          CHECK_THROWS_AS(waits(), bide::timed_out);
          CHECK_THROWS_AS(waits(), bide::timed_out);  // it has passed: at once
        });
        until_parked(cancelled);
        cancelled.cancel();
        CHECK_THROWS_AS(cancelled.get(), bide::cancelled);
        late.get();
        auto before = bide::spawn(unwinding, waits);
        before.cancel();
        CHECK_THROWS_AS(before.get(), bide::cancelled);
      });
    }
  }

  TEST_CASE("a standard condition variable's waits end by unwinding, their lock held") {
    on_workers([] {
      std::mutex mutex;
      std::condition_variable changed;
      std::condition_variable_any any;
      const std::vector<std::function<void(std::unique_lock<std::mutex>&)>> waits{
          [&](auto& held) { changed.wait(held, [] { return false; }); },
          [&](auto& held) { changed.wait_for(held, 1h, [] { return false; }); },
          [&](auto& held) { changed.wait_until(held, std::chrono::system_clock::now() + 1h, [] { return false; }); },
          [&](auto& held) { any.wait(held, [] { return false; }); },
          [&](auto& held) { any.wait_for(held, 1h, [] { return false; }); },
      };
      for (const auto& wait : waits) {
        auto t = bide::spawn(unwinding, [&] {
          std::unique_lock held(mutex);
          try {
            wait(held);
          } catch (...) {
            CHECK(held.owns_lock());
            CHECK(!mutex.try_lock());
            throw;
          }
        });
        until_parked(t);
        t.cancel();
        CHECK_THROWS_AS(t.get(), bide::cancelled);
        CHECK_THROWS_AS(bide::wait_for(bide::spawn(unwinding, [&] {
          std::unique_lock held(mutex);
          wait(held);
        }), 5ms), bide::timed_out);
        CHECK(mutex.try_lock());
        mutex.unlock();
      }
    });
  }

  TEST_CASE("a cancelled wait takes no signal: it goes to the next who waits") {
    on_workers([] {
      for (int round = 0; round < 50; ++round) {
        meeting m;
        int turns = 0;
        const auto waits = [&] {
          pthread_mutex_lock(&m.mutex);
          while (!turns && m.wait() == 0 && !turns) break;  // woken for nothing: gone
          const bool got = turns != 0;
          if (got) --turns;
          pthread_mutex_unlock(&m.mutex);
          return got;
        };
        auto first = bide::spawn(waits);
        until_parked(first);
        auto second = bide::spawn(waits);
        until_parked(second);
        first.cancel();
        pthread_mutex_lock(&m.mutex);
        turns = 1;
        pthread_cond_signal(&m.changed);
        pthread_mutex_unlock(&m.mutex);
        const bool one = first.get();
        if (!one) CHECK(second.join(bide::deadline::after(5s)) == bide::wait_result::ready);
        second.cancel();
        CHECK(one + second.get() == 1);
      }
    });
  }

  TEST_CASE("a shield keeps both off, and the end of the run ends a wait that unwinds") {
    meeting m;
    auto t = bide::run([&] {
      auto shielded = bide::spawn(unwinding, [&] {
        bide::timeout limit(5ms);
        bide::shield([&] {
          pthread_mutex_lock(&m.mutex);
          while (!m.ready) CHECK((m.wait() == 0 && m.ready));
          pthread_mutex_unlock(&m.mutex);
        });
        bide::sleep_for(1h);
      });
      until_parked(shielded);
      shielded.cancel();
      bide::sleep_for(10ms);
      CHECK(!shielded.done());
      m.make_ready();
      CHECK_THROWS(shielded.get());
      m.ready = false;
      auto left = bide::spawn(unwinding, [&] {
        pthread_mutex_lock(&m.mutex);
        try {
          while (!m.ready) m.wait();
        } catch (...) {
          pthread_mutex_unlock(&m.mutex);
          throw;
        }
      });
      until_parked(left);
      return left;
    });
    CHECK(t.state() == bide::task_state::cancelled);
  }

  TEST_CASE("a group's failure reaches a child that waits for a condition") {
    bide::run([] {
      std::mutex mutex;
      std::condition_variable changed;
      CHECK_THROWS_AS(bide::in_group([&](bide::group& g) {
        g.spawn(unwinding, [&] {
          std::unique_lock held(mutex);
          changed.wait(held, [] { return false; });
        });
        g.spawn([] { throw std::runtime_error("the other"); });
      }), std::runtime_error);
      CHECK(mutex.try_lock());
      mutex.unlock();
    });
  }

  TEST_CASE("a loop that nobody is left to end is said and unwound, whether its fiber unwinds or not") {
    for (const auto [how, shielded] : {std::pair{bide::ended_call::fails, false}, {bide::ended_call::fails, true},
                                       {bide::ended_call::unwinds, false}, {bide::ended_call::unwinds, true}}) {
      const ending e = in_child([how = how, shielded = shielded] {
        int looks = 0;
        meeting m;  // outlives the first fiber, which is cancelled as well
        CHECK(error_of([&] {
          bide::run([&] {
            bide::spawn({.name = "lost", .libc_calls = how}, [&] {
              pthread_mutex_lock(&m.mutex);
              const auto waits = [&] {
                while (!m.ready) {
                  ++looks;
                  m.wait();
                }
              };
              try {
                shielded ? bide::shield(waits) : waits();
              } catch (const bide::cancelled&) {
                pthread_mutex_unlock(&m.mutex);
                throw;
              }
            }).get();
          });
        }) == EDEADLK);
        _exit(looks == (how == bide::ended_call::fails ? 2 : 1) ? 7 : 8);
      });
      INFO(e.text);
      CHECK(e.exited(7));
      CHECK(e.says("lost"));
      CHECK(e.says("a condition variable"));
    }
  }

  // They promise not to throw, or know no error: libstdc++ waits by futex(2), and throws at any errno but EINTR and EAGAIN.
  TEST_CASE("the waits of an atomic, a semaphore, a latch and a future go on, and the next call says what ended none of them") {
    for (const auto how : {bide::ended_call::fails, bide::ended_call::unwinds}) {
      on_workers([how] {
        std::atomic<int> number = 0;
        std::atomic<bool> flag = false;  // its size is no futex's: by another word
        std::counting_semaphore<> permits(0);
        std::latch latch(1);
        std::promise<int> promise;
        auto future = promise.get_future();
        struct wait {
          std::function<void()> make, end;
        };
        for (const wait& w : std::vector<wait>{
                 {[&] { number.wait(0); }, [&] { number = 1, number.notify_all(); }},
                 {[&] { flag.wait(false); }, [&] { flag = true, flag.notify_all(); }},
                 {[&] { permits.acquire(); }, [&] { permits.release(); }},
                 {[&] { latch.wait(); }, [&] { latch.count_down(); }},
                 {[&] { CHECK(future.get() == 7); }, [&] { promise.set_value(7); }},
             }) {
          std::atomic<bool> over = false;
          auto t = bide::spawn({.libc_calls = how}, [&] {
            bool late = false;
            {
              bide::timeout limit(1ms);
              w.make();
              over = true;
              try {
                late = next_call_says(ETIMEDOUT);
              } catch (const bide::timed_out&) {
                late = true;
              }
            }
            CHECK(late);
            bide::sleep_for(1h);
          });
          until_parked(t);
          bide::sleep_for(3ms);
          t.cancel();
          bide::sleep_for(3ms);
          CHECK(!over);
          w.end();
          t.join();
          CHECK(over);
          CHECK(t.state() == bide::task_state::cancelled);
        }
      });
    }
  }

  TEST_CASE("a futex that nobody is left to wake ends the process, unless it is waited for while others unwind") {
    const auto wait = [](std::atomic<int>& word) {
      while (word == 0) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
    };
    const ending lost = in_child([&] {
      signal(SIGABRT, SIG_DFL);
      bide::run([&] {
        std::atomic<int> word = 0;
        wait(word);
      });
    });
    INFO(lost.text);
    CHECK(lost.died_of(SIGABRT));
    CHECK(lost.says("a futex"));
    CHECK(lost.says("nobody is left to wake"));

    const ending unwound = in_child([&] {
      std::atomic<int> word = 0;
      CHECK(error_of([&] {
        bide::run([&] {
          struct leaving {
            std::function<void()> then;
            ~leaving() { then(); }
          };
          auto waits = bide::spawn([&] {
            const leaving at_end{[&] { wait(word); }};
            bide::event().wait();
          });
          auto wakes = bide::spawn([&] {
            const leaving at_end{[&] {
              bide::yield();
              word = 1;
              syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
            }};
            bide::event().wait();
          });
          bide::gather(waits, wakes);
        });
      }) == EDEADLK);
      _exit(7);
    });
    INFO(unwound.text);
    CHECK(unwound.exited(7));
  }

  TEST_CASE("who waits by a shared futex takes no offload thread from others") {
    bide::run([] {
      std::atomic<int> number = 0;
      std::vector<bide::task<void>> all;
      for (int i = 0; i < 20; ++i) all.push_back(bide::spawn([&] { number.wait(0); }));
      for (auto& t : all) until_parked(t);
      bide::sleep_for(5ms);
      bide::offload([&] { number = 1, number.notify_all(); });
      bide::gather(all);
    }, {.offload_threads = 1});
  }

  // pthreads(7): pthread_cond_wait is a cancellation point; pthread_cond_wait(3): the mutex is held again when the handlers run.
  TEST_CASE("what a cancelled thread sees, an unwinding fiber sees") {
    const auto tells = [](meeting& m, std::string& log) {
      struct handler {
        meeting& m;
        std::string& log;
        ~handler() {
          log += m.is_held() ? "held, " : "free, ";
          log += pthread_mutex_unlock(&m.mutex) ? "not mine" : "let go";
        }
      };
      pthread_mutex_lock(&m.mutex);
      const handler at_end{m, log};
      while (!m.ready) m.wait();
    };
    struct both {
      meeting m;
      std::string log;
      decltype(tells)& tell;
    };
    both native{{}, {}, tells}, ours{{}, {}, tells};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, nullptr, [](void* p) -> void* {
      auto& b = *static_cast<both*>(p);
      b.tell(b.m, b.log);
      return nullptr;
    }, &native) == 0);
    pthread_cancel(thread);
    void* result;
    pthread_join(thread, &result);
    CHECK(result == PTHREAD_CANCELED);
    bide::run([&] {
      auto t = bide::spawn(unwinding, [&] { tells(ours.m, ours.log); });
      until_parked(t);
      t.cancel();
      t.join();
      CHECK(t.state() == bide::task_state::cancelled);
    });
    CHECK(native.log == "held, let go");
    CHECK(ours.log == native.log);
  }
}
