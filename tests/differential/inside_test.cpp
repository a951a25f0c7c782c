#include <doctest/doctest.h>
#include <grp.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syslog.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

TEST_SUITE("differential/inside") {
  TEST_CASE("programs that libc runs are waited for beside others") {
    compare([](actor& me) {
      std::string order;
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        order += "peer ";
      });
      me.call("system", [] { return WEXITSTATUS(system("sleep 0.3; exit 5")); });
      order += "system";
      me.join(peer);
      me.note("order", order);
      FILE* const out = popen("sleep 0.1; exit 3", "r");
      me.call("pclose", [&] { return WEXITSTATUS(pclose(out)); });
      me.call("its signals are not blocked", [] {
        return WTERMSIG(system("exec 2>&-; kill -TERM $$"));
      });
    });
  }

  TEST_CASE("accounts, services and the log are found as ever") {
    compare([](actor& me) {
      const passwd* root = getpwnam("root");
      me.note("root", root ? static_cast<long>(root->pw_uid) : -1);
      passwd found{};
      passwd* out = nullptr;
      char memory[1024];
      me.call("getpwuid_r", [&] { return getpwuid_r(0, &found, memory, sizeof memory, &out); });
      me.note("name", out ? out->pw_name : "none");
      me.call("getpwuid_r into too little", [&] { return getpwuid_r(0, &found, memory, 2, &out); });
      me.note("no such group", getgrnam("no-such-group-is-there") == nullptr);
      me.note("tcp", getprotobyname("tcp") ? getprotobyname("tcp")->p_proto : -1);
      syslog(LOG_DEBUG, "%s", "from a test");
    });
  }

  TEST_CASE("a record is whole wherever its memory begins") {
    compare([](actor& me) {
      const auto texts = [&](const char* what, char** list) {
        std::string all;
        for (; list && *list; ++list) all += std::string(*list) + " ";
        me.note(what, all);
      };
      alignas(64) char memory[4096];
      for (const std::size_t at : {0u, 1u, 5u, 31u}) {
        char* const room = memory + at;
        servent service{}, *found = nullptr;
        me.note("getservbyname_r", getservbyname_r("http", "tcp", &service, room, 1024, &found));
        me.note("port", found ? found->s_port : -1);
        texts("aliases", found ? found->s_aliases : nullptr);
        me.note("too little", getservbyname_r("http", "tcp", &service, room, 40, &found));
        protoent protocol{}, *of = nullptr;
        me.note("getprotobyname_r", getprotobyname_r("tcp", &protocol, room, 1024, &of));
        me.note("name", of ? of->p_name : "none");
        texts("aliases", of ? of->p_aliases : nullptr);
        group members{}, *in = nullptr;
        me.note("getgrgid_r", getgrgid_r(0, &members, room, 1024, &in));
        me.note("name", in ? in->gr_name : "none");
        texts("members", in ? in->gr_mem : nullptr);
        hostent host{}, *is = nullptr;
        int error = 0;
        me.note("gethostbyname_r", gethostbyname_r("localhost", &host, room, 2048, &is, &error));
        texts("aliases", is ? is->h_aliases : nullptr);
      }
      const passwd* const root = getpwuid(0);
      me.note("shell", root ? root->pw_shell : "none");
      me.note("the first of all", getpwent() ? "there" : "none");
      endpwent();
      gid_t groups[8] = {};
      int count = 8;
      me.note("getgrouplist", getgrouplist("root", 5, groups, &count));
      me.note("groups", std::to_string(count) + " " + std::to_string(groups[0]));
    });
  }

  TEST_CASE("a mutex held across a wait makes others wait, and no more") {
    compare([](actor& me) {
      std::mutex guard;
      std::string order;
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        const std::lock_guard hold(guard);
        order += " peer";
      });
      {
        const std::lock_guard hold(guard);
        me.call("usleep", [] { return usleep(100'000); });
        order += "first";
      }
      me.join(peer);
      me.note("order", order);
    });
  }

  TEST_CASE("a lock of C11's is waited for beside others, whoever has it") {
    compare([](actor& me) {
      for (const int kind : {int{mtx_plain}, int{mtx_timed}, mtx_plain | mtx_recursive}) {
        mtx_t guard;
        mtx_init(&guard, kind);
        std::string order;
        me.call("mtx_lock", [&] { return mtx_lock(&guard); });
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.call("mtx_lock", [&] { return mtx_lock(&guard); });
          order += " peer";
          peer.call("mtx_unlock", [&] { return mtx_unlock(&guard); });
        });
        me.until_waiting(peer);
        order += "first";
        me.call("mtx_unlock", [&] { return mtx_unlock(&guard); });
        me.join(peer);
        me.note("order", order);
        mtx_destroy(&guard);
      }
    });
  }

  TEST_CASE("what C calls once may wait, and others wait for it") {
    static std::function<void()> what;
    const auto do_it = [] { what(); };
    const auto each_once = [&](const char* name, auto flag, auto call) {
      compare([&](actor& me) {
        auto once = flag;
        std::string order;
        std::atomic<bool> begun = false;
        actor& peer = me.start("peer", [&](actor& peer) {
          peer.until([&] { return begun.load(); });
          peer.call(name, [&] { return call(&once, do_it); });
          order += " peer";
        });
        what = [&] {
          begun = true;
          const int before = errno;
          me.until_waiting(peer);
          errno = before;
          order += "once";
        };
        me.call(name, [&] { return call(&once, do_it); });
        me.join(peer);
        me.call(name, [&] { return call(&once, do_it); });
        me.note("order", order);
      });
    };
    each_once("pthread_once", pthread_once_t{PTHREAD_ONCE_INIT}, [](pthread_once_t* once, void (*f)()) { return pthread_once(once, f); });
    each_once("call_once", once_flag{ONCE_FLAG_INIT}, [](once_flag* once, void (*f)()) { return call_once(once, f), 0; });
  }

  TEST_CASE("a semaphore and a thread's end are waited for beside others") {
    compare([](actor& me) {
      sem_t count;
      sem_init(&count, 0, 0);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("sem_post", [&] { return sem_post(&count); });
      });
      me.call("sem_wait", [&] { return sem_wait(&count); });
      const timespec past{1, 0};
      me.call("sem_timedwait", [&] { return sem_timedwait(&count, &past); });
      me.join(peer);
      pthread_t thread;
      must(pthread_create(&thread, nullptr, [](void*) -> void* {
        usleep(50'000);
        return nullptr;
      }, nullptr) ? -1 : 0, "pthread_create");
      me.call("pthread_join", [&] { return pthread_join(thread, nullptr); });
    });
  }

  TEST_CASE("a lock for readers and writers held across a wait makes others wait, and no more") {
    compare([](actor& me) {
      std::shared_timed_mutex guard;
      std::string order;
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        const bool shared = guard.try_lock_shared_for(10ms);
        peer.note("in 10 ms", shared);
        if (shared) guard.unlock_shared();
        const std::lock_guard hold(guard);
        order += " peer";
      });
      {
        const std::shared_lock hold(guard);
        me.call("usleep", [] { return usleep(50'000); });
      }
      {
        const std::lock_guard hold(guard);
        me.call("usleep", [] { return usleep(100'000); });
        order += "first";
      }
      me.join(peer);
      me.note("order", order.size());
    });
  }

  TEST_CASE("a condition variable wakes who waits, one or all, and ends a wait in time") {
    compare([](actor& me) {
      std::mutex guard;
      std::condition_variable change;
      int turn = 0, woken = 0;
      const auto wait = [&](actor& one) {
        std::unique_lock hold(guard);
        while (!turn) one.call("wait", [&] { return change.wait(hold), 0; });
        --turn;
        ++woken;
      };
      actor& first = me.start("first", wait);
      actor& second = me.start("second", wait);
      me.until_waiting(first);
      me.until_waiting(second);
      {
        const std::lock_guard hold(guard);
        turn = 2;
      }
      change.notify_all();
      me.join(first);
      me.join(second);
      me.note("woken", woken);
      std::unique_lock hold(guard);
      me.call_for(50ms, "wait_for", [&] { return change.wait_for(hold, 50ms) == std::cv_status::timeout; });
      actor& third = me.start("third", wait);
      hold.unlock();
      me.until_waiting(third);
      hold.lock();
      turn = 1;
      change.notify_one();
      hold.unlock();
      me.join(third);
    });
  }

  TEST_CASE("a condition and a barrier are destroyed as soon as all who waited are woken") {
    compare([](actor& me) {
      pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
      pthread_cond_t change;
      pthread_barrier_t meeting;
      pthread_cond_init(&change, nullptr);
      pthread_barrier_init(&meeting, nullptr, 3);
      bool there = false;
      const auto wait = [&](actor& one) {
        pthread_mutex_lock(&guard);
        while (!there) one.call("pthread_cond_wait", [&] { return pthread_cond_wait(&change, &guard); });
        pthread_mutex_unlock(&guard);
        pthread_barrier_wait(&meeting);
      };
      actor& first = me.start("first", wait);
      actor& second = me.start("second", wait);
      me.until_waiting(first);
      me.until_waiting(second);
      pthread_mutex_lock(&guard);
      there = true;
      pthread_cond_broadcast(&change);
      me.call("pthread_cond_destroy", [&] { return pthread_cond_destroy(&change); });
      memset(&change, -1, sizeof change);
      pthread_mutex_unlock(&guard);
      pthread_barrier_wait(&meeting);
      me.call("pthread_barrier_destroy", [&] { return pthread_barrier_destroy(&meeting); });
      memset(&meeting, -1, sizeof meeting);
      me.join(first);
      me.join(second);
    });
  }

  TEST_CASE("threads beside the fibers wake and are woken by a condition variable") {
    compare([](actor& me) {
      std::mutex guard;
      std::condition_variable change;
      int turn = 0;
      std::thread other([&] {
        for (int i = 1; i < 100; i += 2) {
          std::unique_lock hold(guard);
          change.wait(hold, [&] { return turn == i; });
          ++turn;
          change.notify_one();
        }
      });
      for (int i = 0; i < 100; i += 2) {
        std::unique_lock hold(guard);
        change.wait(hold, [&] { return turn == i; });
        ++turn;
        change.notify_one();
      }
      other.join();
      me.note("turn", turn);
    });
  }

  TEST_CASE("what is called once may wait, and others wait for it; who throws leaves it to the next") {
    compare([](actor& me) {
      std::once_flag flag;
      int ran = 0, calls = 0;
      const auto initialised = [&] {
        static const int value = [&] {
          usleep(100'000);
          return ++calls;
        }();
        return value;
      };
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        std::call_once(flag, [&] {
          usleep(1000);
          ++ran;
        });
        peer.note("once more", initialised());
      });
      try {
        std::call_once(flag, [&] {
          me.call("usleep", [] { return usleep(100'000); });
          throw 1;
        });
      } catch (int) {
        me.note("thrown");
      }
      std::call_once(flag, [&] { ++ran; });
      me.note("initialised", initialised());
      me.join(peer);
      me.note("ran", ran);
      me.note("calls", calls);
    });
  }
}
