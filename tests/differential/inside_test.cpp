#include <doctest/doctest.h>
#include <grp.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syslog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mutex>

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
}
