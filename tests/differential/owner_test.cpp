// Whom a lock of libc's takes for its holder, and what it tells the holder and others: two fibers of one worker are two.
#include <doctest/doctest.h>
#include <pthread.h>
#include <threads.h>
#include <unistd.h>

#include <thread>

#include <bide/run.hpp>
#include <bide/task.hpp>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

struct mutex_kind {
  const char* name;
  int type, robust, protocol, shared;
};

constexpr mutex_kind with_owner[] = {
    {"recursive", PTHREAD_MUTEX_RECURSIVE, 0, 0, 0},
    {"error-checking", PTHREAD_MUTEX_ERRORCHECK, 0, 0, 0},
    {"shared recursive", PTHREAD_MUTEX_RECURSIVE, 0, 0, PTHREAD_PROCESS_SHARED},
    {"shared error-checking", PTHREAD_MUTEX_ERRORCHECK, 0, 0, PTHREAD_PROCESS_SHARED},
    {"robust recursive", PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ROBUST, 0, 0},
    {"robust error-checking", PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST, 0, 0},
    {"robust", PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, 0, 0},
    {"inheriting recursive", PTHREAD_MUTEX_RECURSIVE, 0, PTHREAD_PRIO_INHERIT, 0},
    {"inheriting error-checking", PTHREAD_MUTEX_ERRORCHECK, 0, PTHREAD_PRIO_INHERIT, 0},
};

struct mutex {
  explicit mutex(const mutex_kind& k) {
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_settype(&how, k.type);
    pthread_mutexattr_setrobust(&how, k.robust);
    pthread_mutexattr_setprotocol(&how, k.protocol);
    pthread_mutexattr_setpshared(&how, k.shared);
    must(pthread_mutex_init(&it, &how) ? -1 : 0, "pthread_mutex_init");
    pthread_mutexattr_destroy(&how);
  }
  operator pthread_mutex_t*() { return &it; }
  pthread_mutex_t it;
};

timespec in(milliseconds length, clockid_t clock = CLOCK_REALTIME) {
  timespec t;
  clock_gettime(clock, &t);
  const long ns = t.tv_nsec + length.count() * 1'000'000;
  return {t.tv_sec + ns / 1'000'000'000, ns % 1'000'000'000};
}

// What the four ways to take it answer.
void take_by_all(actor& one, pthread_mutex_t* m) {
  one.call("trylock", [&] { return pthread_mutex_trylock(m); });
  one.call("timedlock", [&, t = in(20ms)] { return pthread_mutex_timedlock(m, &t); });
  one.call("clocklock", [&, t = in(20ms, CLOCK_MONOTONIC)] { return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &t); });
}

void let_go(actor& one, pthread_mutex_t* m) {
  int left;
  do left = pthread_mutex_unlock(m), one.note("unlock", left);
  while (!left);
}

}  // namespace

TEST_SUITE("differential/owners") {
  TEST_CASE("who holds a mutex is let in again or refused at once, others wait, and none but he lets go") {
    for (const mutex_kind& k : with_owner) {
      INFO(std::string(k.name));
      compare([&](actor& me) {
        mutex m(k);
        me.call("lock", [&] { return pthread_mutex_lock(m); });
        actor& other = me.start("other", [&](actor& one) {
          take_by_all(one, m);
          one.call("unlock", [&] { return pthread_mutex_unlock(m); });
        });
        me.join(other);
        if (k.type != PTHREAD_MUTEX_NORMAL) me.call("lock again", [&] { return pthread_mutex_lock(m); });
        take_by_all(me, m);
        actor& third = me.start("third", [&](actor& one) { take_by_all(one, m); });
        me.join(third);
        let_go(me, m);
        actor& fourth = me.start("fourth", [&](actor& one) {
          one.call("unlock", [&] { return pthread_mutex_unlock(m); });
          one.call("lock", [&] { return pthread_mutex_lock(m); });
          let_go(one, m);
        });
        me.join(fourth);
        me.call("destroy", [&] { return pthread_mutex_destroy(m); });
      });
    }
  }

  TEST_CASE("a mutex with an owner that is held across a wait keeps all others out, and the next is woken") {
    for (const mutex_kind& k : with_owner) {
      INFO(std::string(k.name));
      compare([&](actor& me) {
        mutex m(k);
        std::string order;
        const auto enter = [&](actor& one) {
          one.call("lock", [&] { return pthread_mutex_lock(m); });
          order += "in ";
          usleep(10'000);
          order += "out ";
          one.call("unlock", [&] { return pthread_mutex_unlock(m); });
        };
        me.call("lock", [&] { return pthread_mutex_lock(m); });
        actor& first = me.start("first", enter);
        actor& second = me.start("second", enter);
        me.until_waiting(first);
        me.until_waiting(second);
        order += "holder ";
        me.call("unlock", [&] { return pthread_mutex_unlock(m); });
        me.join(first);
        me.join(second);
        me.note("order", order);
      });
    }
  }

  TEST_CASE("a condition variable gives a mutex with an owner back, to the owner in the end") {
    for (const mutex_kind& k : with_owner) {
      INFO(std::string(k.name));
      compare([&](actor& me) {
        mutex m(k);
        pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
        bool ready = false;
        me.note("unlocked", pthread_cond_signal(&changed));
        actor& waiter = me.start("waiter", [&](actor& one) {
          pthread_mutex_lock(m);
          while (!ready) one.call("wait", [&] { return pthread_cond_wait(&changed, m); });
          one.call("timedwait", [&, t = in(20ms)] { return pthread_cond_timedwait(&changed, m, &t); });
          take_by_all(one, m);
          let_go(one, m);
        });
        me.until_waiting(waiter);
        me.call("lock", [&] { return pthread_mutex_lock(m); });
        ready = true;
        pthread_cond_signal(&changed);
        usleep(20'000);
        me.call("unlock", [&] { return pthread_mutex_unlock(m); });
        me.join(waiter);
      });
    }
  }

  TEST_CASE("who waits for a condition with a mutex that another holds is refused") {
    for (const mutex_kind& k : with_owner) {
      INFO(std::string(k.name));
      compare([&](actor& me) {
        mutex m(k);
        pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
        me.call("lock", [&] { return pthread_mutex_lock(m); });
        actor& other = me.start("other", [&](actor& one) {
          one.call("wait", [&] { return pthread_cond_wait(&changed, m); });
        });
        me.join(other);
        let_go(me, m);
      });
    }
  }

  TEST_CASE("a mutex with an owner is told apart by threads beside the fibers, too") {
    for (const mutex_kind& k : with_owner) {
      INFO(std::string(k.name));
      compare([&](actor& me) {
        mutex m(k);
        const auto elsewhere = [&](const char* what, auto f) {
          int answer = -1;
          std::thread([&] { answer = f(); }).join();
          me.note(what, answer);
        };
        me.call("lock", [&] { return pthread_mutex_lock(m); });
        elsewhere("a thread's trylock", [&] { return pthread_mutex_trylock(m); });
        elsewhere("a thread's unlock", [&] { return pthread_mutex_unlock(m); });
        let_go(me, m);
        std::atomic<int> held{0};
        std::thread other([&] {
          pthread_mutex_lock(m);
          held = 1;
          while (held == 1) std::this_thread::sleep_for(1ms);
          pthread_mutex_unlock(m);
        });
        me.until([&] { return held == 1; });
        take_by_all(me, m);
        me.note("unlock", pthread_mutex_unlock(m));
        held = 2;
        me.call("lock", [&] { return pthread_mutex_lock(m); });
        let_go(me, m);
        other.join();
      });
    }
  }

  TEST_CASE("who writes under a read-write lock is refused it once more at once, and others wait") {
    for (const int preference : {PTHREAD_RWLOCK_PREFER_READER_NP, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP}) {
      compare([&](actor& me) {
        pthread_rwlock_t l;
        pthread_rwlockattr_t how;
        pthread_rwlockattr_init(&how);
        pthread_rwlockattr_setkind_np(&how, preference);
        pthread_rwlock_init(&l, &how);
        const auto all = [&](actor& one) {
          one.call("tryrdlock", [&] { return pthread_rwlock_tryrdlock(&l); });
          one.call("trywrlock", [&] { return pthread_rwlock_trywrlock(&l); });
          one.call("timedrdlock", [&, t = in(20ms)] { return pthread_rwlock_timedrdlock(&l, &t); });
          one.call("timedwrlock", [&, t = in(20ms)] { return pthread_rwlock_timedwrlock(&l, &t); });
          one.call("clockrdlock", [&, t = in(20ms, CLOCK_MONOTONIC)] { return pthread_rwlock_clockrdlock(&l, CLOCK_MONOTONIC, &t); });
          one.call("clockwrlock", [&, t = in(20ms, CLOCK_MONOTONIC)] { return pthread_rwlock_clockwrlock(&l, CLOCK_MONOTONIC, &t); });
        };
        me.call("wrlock", [&] { return pthread_rwlock_wrlock(&l); });
        me.call("wrlock again", [&] { return pthread_rwlock_wrlock(&l); });
        me.call("rdlock as well", [&] { return pthread_rwlock_rdlock(&l); });
        all(me);
        actor& other = me.start("other", all);
        me.join(other);
        actor& reader = me.start("reader", [&](actor& one) {
          one.call("rdlock", [&] { return pthread_rwlock_rdlock(&l); });
          one.call("rdlock again", [&] { return pthread_rwlock_rdlock(&l); });
          one.call("timedwrlock", [&, t = in(20ms)] { return pthread_rwlock_timedwrlock(&l, &t); });
          pthread_rwlock_unlock(&l);
          one.call("unlock", [&] { return pthread_rwlock_unlock(&l); });
          one.call("wrlock", [&] { return pthread_rwlock_wrlock(&l); });
          one.call("unlock", [&] { return pthread_rwlock_unlock(&l); });
        });
        me.until_waiting(reader);
        me.call("unlock", [&] { return pthread_rwlock_unlock(&l); });
        me.join(reader);
        me.call("wrlock", [&] { return pthread_rwlock_wrlock(&l); });
        me.call("unlock", [&] { return pthread_rwlock_unlock(&l); });
        me.call("rdlock", [&] { return pthread_rwlock_rdlock(&l); });
        me.call("unlock", [&] { return pthread_rwlock_unlock(&l); });
      });
    }
  }

  TEST_CASE("who ends with a robust mutex leaves it to the next, who is told, and may mend it or not") {
    for (const mutex_kind& k : with_owner) {
      if (!k.robust) continue;
      INFO(std::string(k.name));
      compare([&](actor& me) {
        mutex m(k), kept(k), third(k);
        const auto ends_with_it = [&](actor& one) {
          pthread_mutex_lock(third);
          one.call("lock", [&] { return pthread_mutex_lock(m); });
          pthread_mutex_unlock(third);
          usleep(30'000);
        };
        me.call("lock another", [&] { return pthread_mutex_lock(kept); });
        actor& other = me.start("other", ends_with_it);
        me.until_waiting(other);
        me.call("lock", [&] { return pthread_mutex_lock(m); });
        me.join(other);
        me.call("consistent", [&] { return pthread_mutex_consistent(m); });
        let_go(me, m);
        actor& next = me.start("next", [&](actor& one) {
          take_by_all(one, kept);
          ends_with_it(one);
        });
        me.join(next);
        me.call("trylock", [&] { return pthread_mutex_trylock(m); });
        me.call("unlock", [&] { return pthread_mutex_unlock(m); });
        me.call("lock", [&] { return pthread_mutex_lock(m); });
        let_go(me, kept);
      });
    }
  }

  TEST_CASE("a mutex that a thread has before it is a runtime's, or lets go of behind it, goes to the next") {
    for (const mutex_kind& k : with_owner) {
      INFO(std::string(k.name));
      if (k.robust) continue;  // goes to the next at the fiber's end
      mutex m(k);
      const auto is_free = [&] {
        return bide::run([&] {
          return bide::spawn([&] { return pthread_mutex_trylock(m) == 0 && pthread_mutex_unlock(m) == 0; }).get();
        });
      };
      CHECK(is_free());
      bide::run([&] { CHECK(pthread_mutex_lock(m) == 0); });
      CHECK(pthread_mutex_unlock(m) == 0);
      CHECK(is_free());
      if (k.type != PTHREAD_MUTEX_RECURSIVE) continue;
      CHECK(pthread_mutex_lock(m) == 0);
      bide::run([&] {
        CHECK(pthread_mutex_lock(m) == 0);
        CHECK(pthread_mutex_unlock(m) == 0);
        CHECK(pthread_mutex_lock(m) == 0);
      });
      CHECK(pthread_mutex_unlock(m) == 0);
      CHECK(pthread_mutex_unlock(m) == 0);
      CHECK(pthread_mutex_unlock(m) == EPERM);
      CHECK(is_free());
    }
  }

  TEST_CASE("C11's mutexes tell their holder from others") {
    for (const int type : {mtx_plain | mtx_recursive, mtx_timed | mtx_recursive}) {
      compare([&](actor& me) {
        mtx_t m;
        must(mtx_init(&m, type) == thrd_success ? 0 : -1, "mtx_init");
        const auto all = [&](actor& one) {
          one.call("mtx_trylock", [&] { return mtx_trylock(&m); });
          one.call("mtx_timedlock", [&, t = in(20ms)] { return mtx_timedlock(&m, &t); });
        };
        me.call("mtx_lock", [&] { return mtx_lock(&m); });
        me.call("mtx_lock again", [&] { return mtx_lock(&m); });
        all(me);
        actor& other = me.start("other", [&](actor& one) {
          all(one);
          one.call("mtx_unlock", [&] { return mtx_unlock(&m); });
        });
        me.join(other);
        for (int i = 0; i < 5; ++i) me.call("mtx_unlock", [&] { return mtx_unlock(&m); });
        actor& next = me.start("next", [&](actor& one) {
          all(one);
          for (int i = 0; i < 2; ++i) one.call("mtx_unlock", [&] { return mtx_unlock(&m); });
        });
        me.join(next);
        mtx_destroy(&m);
      });
    }
  }

  TEST_CASE("limits and clocks that there are not are refused when libc refuses them") {
    compare([](actor& me) {
      const timespec below{1, -1}, beyond{1, 1'000'000'000}, past{1, 0};
      const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, 77};
      pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
      pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;
      const auto ask = [&](actor& one) {
        for (const timespec* t : {&below, &beyond, &past}) {
          const auto taken = [&](const char* what, int error) {
            one.note(what, error);
            if (!error) pthread_mutex_unlock(&m);
          };
          const auto shared = [&](const char* what, int error) {
            one.note(what, error);
            if (!error) pthread_rwlock_unlock(&l);
          };
          taken("timedlock", pthread_mutex_timedlock(&m, t));
          shared("timedrdlock", pthread_rwlock_timedrdlock(&l, t));
          shared("timedwrlock", pthread_rwlock_timedwrlock(&l, t));
          for (const clockid_t clock : clocks) {
            taken("clocklock", pthread_mutex_clocklock(&m, clock, t));
            shared("clockrdlock", pthread_rwlock_clockrdlock(&l, clock, t));
            shared("clockwrlock", pthread_rwlock_clockwrlock(&l, clock, t));
          }
        }
      };
      ask(me);
      pthread_mutex_lock(&m);
      pthread_rwlock_wrlock(&l);
      actor& other = me.start("other", ask);
      me.join(other);
      pthread_rwlock_unlock(&l);
      pthread_rwlock_rdlock(&l);
      actor& reader = me.start("reader", ask);
      me.join(reader);
      pthread_rwlock_unlock(&l);
      pthread_mutex_unlock(&m);
    });
  }
}
