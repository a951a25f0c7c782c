// C++ programs: threads, futures, exceptions and destructors across waits.
#include "program.h"

#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cxxabi.h>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <numeric>
#include <semaphore>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

CASE(threads_and_futures) {
  std::vector<std::future<int>> all;
  for (int i = 0; i < 30; ++i)
    all.push_back(std::async(std::launch::async, [i] {
      std::this_thread::sleep_for(std::chrono::milliseconds(i % 5));
      return i;
    }));
  int sum = 0;
  for (auto &f : all) sum += f.get();
  std::promise<std::string> p;
  std::thread t([&] {
    std::this_thread::sleep_for(10ms);
    p.set_value("kept");
  });
  say("%d %s", sum, p.get_future().get().c_str());
  t.join();
  std::packaged_task<int(int)> task([](int n) { return n * n; });
  auto square = task.get_future();
  std::thread(std::move(task), 12).join();
  say("%d", square.get());
  auto late = std::async(std::launch::async, [] { std::this_thread::sleep_for(100ms); });
  say("%d", late.wait_for(5ms) == std::future_status::timeout);
}

CASE(exceptions_across_waits) {
  std::vector<std::thread> all;
  std::atomic<int> caught{0}, mixed{0};
  for (int i = 0; i < 20; ++i)
    all.emplace_back([&, i] {
      for (int k = 0; k < 5; ++k) {
        try {
          std::this_thread::sleep_for(1ms);
          throw std::runtime_error(std::to_string(i));
        } catch (const std::exception &outer) {
          std::this_thread::sleep_for(1ms);
          try {
            throw i;
          } catch (int inner) {
            std::this_thread::sleep_for(1ms);
            if (inner != i) ++mixed;
          }
          if (outer.what() != std::to_string(i) || std::uncaught_exceptions() != 0) ++mixed;
          ++caught;
        }
      }
    });
  for (auto &t : all) t.join();
  say("caught %d mixed %d", caught.load(), mixed.load());
  auto f = std::async(std::launch::async, []() -> int { throw std::out_of_range("far"); });
  try {
    f.get();
  } catch (const std::out_of_range &e) {
    say("%s", e.what());
  }
}

struct told {
  const char *name;
  ~told() { say("%s destroyed", name); }
};
static void deep(int depth) {
  told t{depth % 2 ? "odd" : "even"};
  if (depth) return deep(depth - 1);
  sleep(1000);
}
static void *sleeps_deep(void *) {
  told t{"outer"};
  try {
    deep(3);
  } catch (abi::__forced_unwind &) {
    say("forced");
    throw;
  } catch (...) {
    say("never");
    throw;
  }
  return nullptr;
}

CASE(cancel_destroys) {
  pthread_t thread = start(sleeps_deep, nullptr);
  nap(20);
  pthread_cancel(thread);
  say("%d", join(thread) == PTHREAD_CANCELED);
}

static void *exits_deep(void *) {
  told t{"in it"};
  pthread_exit(reinterpret_cast<void *>(3));
}

CASE(pthread_exit_destroys) { say("%ld", reinterpret_cast<long>(join(start(exits_deep, nullptr)))); }

static thread_local told own{"thread_local"};
static thread_local std::unique_ptr<std::string> text = std::make_unique<std::string>("fresh");

CASE(thread_locals_are_made_and_destroyed) {
  for (int i = 0; i < 3; ++i)
    std::thread([] {
      std::this_thread::sleep_for(1ms);
      say("%s %s", own.name, text->c_str());
      *text = "used";
    }).join();
}

struct slow {
  slow() {
    std::this_thread::sleep_for(30ms);
    say("made once");
  }
  int value = 5;
};
static int lazily() {
  static slow s;
  return s.value;
}

CASE(statics_are_made_once) {
  std::vector<std::thread> all;
  std::atomic<int> sum{0};
  for (int i = 0; i < 10; ++i) all.emplace_back([&] { sum += lazily(); });
  for (auto &t : all) t.join();
  std::once_flag once;
  int tries = 0;
  auto attempt = [&] {
    try {
      std::call_once(once, [&] {
        std::this_thread::sleep_for(5ms);
        if (++tries < 3) throw 1;
      });
    } catch (int) {}
  };
  std::vector<std::thread> more;
  for (int i = 0; i < 6; ++i) more.emplace_back(attempt);
  for (auto &t : more) t.join();
  say("%d %d", sum.load(), tries);
}

CASE(stop_tokens) {
  std::condition_variable_any wanted;
  std::mutex m;
  int ended = 0;
  {
    std::jthread polling([](std::stop_token s) {
      while (!s.stop_requested()) std::this_thread::sleep_for(1ms);
    });
    std::jthread waiting([&](std::stop_token s) {
      std::unique_lock lock(m);
      wanted.wait(lock, s, [] { return false; });
      ++ended;
    });
    std::this_thread::sleep_for(20ms);
  }
  say("%d", ended);
}

CASE(atomic_waits) {
  std::atomic<int> turn{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 4; ++i)
    all.emplace_back([&, i] {
      for (int k = 0; k < 50; ++k) {
        for (int now; (now = turn.load()) % 4 != i;) turn.wait(now);
        ++turn;
        turn.notify_all();
      }
    });
  for (auto &t : all) t.join();
  say("%d", turn.load());
}

CASE(latches_barriers_semaphores) {
  std::latch ready(5);
  int phases = 0;
  std::barrier<void (*)() noexcept> meet(5, +[]() noexcept {});
  std::counting_semaphore<3> room(3);
  std::binary_semaphore none(0);
  std::atomic<int> inside{0}, most{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 5; ++i)
    all.emplace_back([&] {
      ready.arrive_and_wait();
      for (int k = 0; k < 20; ++k) meet.arrive_and_wait();
      room.acquire();
      if (int now = ++inside; now > most) most = now;
      std::this_thread::sleep_for(2ms);
      --inside;
      room.release();
    });
  for (auto &t : all) t.join();
  say("%d most %d, %d", phases, most.load() <= 3, none.try_acquire_for(10ms));
}

CASE(shared_and_timed_mutexes) {
  std::shared_timed_mutex m;
  std::timed_mutex t;
  std::recursive_timed_mutex r;
  std::vector<std::thread> all;
  int value = 0, torn = 0;
  for (int i = 0; i < 6; ++i)
    all.emplace_back([&, i] {
      for (int k = 0; k < 100; ++k) {
        if (i % 3 == 0) {
          std::unique_lock lock(m);
          ++value;
          std::this_thread::yield();
        } else {
          std::shared_lock lock(m);
          int before = value;
          std::this_thread::yield();
          if (before != value) ++torn;
        }
      }
    });
  for (auto &x : all) x.join();
  std::lock_guard lock(t);
  std::scoped_lock both(r, m);
  bool got = true, shared = true;
  std::thread([&] {
    got = t.try_lock_for(10ms) || r.try_lock_for(10ms);
    shared = m.try_lock_shared_for(10ms);
  }).join();
  say("%d torn %d got %d %d", value, torn, got, shared);
}

CASE(condition_variables) {
  std::mutex m;
  std::condition_variable c;
  std::vector<int> queue;
  long sum = 0;
  std::thread consumer([&] {
    for (int i = 0; i < 1000; ++i) {
      std::unique_lock lock(m);
      c.wait(lock, [&] { return !queue.empty(); });
      sum += queue.back();
      queue.pop_back();
    }
  });
  std::thread producer([&] {
    for (int i = 0; i < 1000; ++i) {
      {
        std::lock_guard lock(m);
        queue.push_back(i);
      }
      c.notify_one();
    }
  });
  producer.join();
  consumer.join();
  std::unique_lock lock(m);
  say("%ld %d", sum, c.wait_for(lock, 10ms, [] { return false; }));
  std::vector<std::thread> all;
  std::thread leaver([&] {
    std::unique_lock mine(m);
    std::notify_all_at_thread_exit(c, std::move(mine));
  });
  say("%d", c.wait_for(lock, 5s) == std::cv_status::no_timeout);
  lock.unlock();
  leaver.join();
}

CASE(an_exception_out_of_a_thread_ends_the_process) {
  std::set_terminate([] {
    say("terminate");
    _exit(3);
  });
  std::thread([] {
    std::this_thread::sleep_for(1ms);
    throw 1;
  }).join();
}
