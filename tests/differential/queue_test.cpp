#include <doctest/doctest.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <unistd.h>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

class semaphores {
 public:
  explicit semaphores(int count) : id(static_cast<int>(must(semget(IPC_PRIVATE, count, 0600), "semget"))) {}
  ~semaphores() { semctl(id, 0, IPC_RMID); }
  const int id;
};

class messages {
 public:
  messages() : id(static_cast<int>(must(msgget(IPC_PRIVATE, 0600), "msgget"))) {}
  ~messages() { msgctl(id, IPC_RMID, nullptr); }
  const int id;
};

struct message {
  long type;
  char text[8];
};

timespec from_now(milliseconds length) {
  timespec at{};
  clock_gettime(CLOCK_REALTIME, &at);
  const long ns = at.tv_nsec + length.count() * 1'000'000;
  return {at.tv_sec + ns / 1'000'000'000, ns % 1'000'000'000};
}

}  // namespace

TEST_SUITE("differential/sysv") {
  TEST_CASE("semop waits until it can be done as a whole") {
    compare([](actor& me) {
      const semaphores set(2);
      actor& peer = me.start("peer", [&](actor& peer) {
        for (unsigned short which : {0, 1}) {
          peer.until_waiting(me);
          sembuf up{which, 1, 0};
          peer.call("up", [&] { return semop(set.id, &up, 1); });
        }
      });
      sembuf both[2] = {{0, -1, 0}, {1, -1, 0}};
      me.call("down", [&] { return semop(set.id, both, 2); });
      me.note("left", semctl(set.id, 0, GETVAL) + semctl(set.id, 1, GETVAL));
      me.join(peer);
    });
  }

  TEST_CASE("semop waits for zero, and goes through at once where it can") {
    compare([](actor& me) {
      const semaphores set(1);
      sembuf up{0, 1, 0}, zero{0, 0, 0}, down{0, -1, 0};
      me.call("wait for zero", [&] { return semop(set.id, &zero, 1); });
      me.call("up", [&] { return semop(set.id, &up, 1); });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("down", [&] { return semop(set.id, &down, 1); });
      });
      me.call("wait for zero", [&] { return semop(set.id, &zero, 1); });
      me.join(peer);
    });
  }

  TEST_CASE("semtimedop gives up after its time") {
    compare([](actor& me) {
      const semaphores set(1);
      sembuf down{0, -1, 0}, at_once{0, -1, IPC_NOWAIT};
      const timespec length{0, 100'000'000}, strange{0, 2'000'000'000};
      me.call_for(100ms, "semtimedop", [&] { return semtimedop(set.id, &down, 1, &length); });
      me.call_for(0ms, "IPC_NOWAIT", [&] { return semop(set.id, &at_once, 1); });
      me.call("a time that makes no sense", [&] { return semtimedop(set.id, &down, 1, &strange); });
      me.call("no operations", [&] { return semop(set.id, &down, 0); });
      me.call("too many", [&] { return semop(set.id, &down, 100'000); });
      me.call("a set that is none", [&] { return semop(-1, &down, 1); });
      me.call("from a bad place", [&] { return semop(set.id, opaque(static_cast<sembuf*>(bad_address())), 1); });
    });
  }

  TEST_CASE("what is removed says EIDRM to who waits") {
    compare([](actor& me) {
      const semaphores set(1);
      const messages queue;
      sembuf down{0, -1, 0};
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        must(semctl(set.id, 0, IPC_RMID), "semctl");
        moment(30ms);
        peer.until_waiting(me);
        must(msgctl(queue.id, IPC_RMID, nullptr), "msgctl");
      });
      me.call("semop", [&] { return semop(set.id, &down, 1); });
      message got{};
      me.call("msgrcv", [&] { return msgrcv(queue.id, &got, sizeof got.text, 0, 0); });
      me.join(peer);
    });
  }

  TEST_CASE("msgrcv waits for a message of its type") {
    compare([](actor& me) {
      const messages queue;
      actor& peer = me.start("peer", [&](actor& peer) {
        for (const long type : {5L, 2L}) {
          peer.until_waiting(me);
          const message sent{type, "hello"};
          peer.call("msgsnd", [&] { return msgsnd(queue.id, &sent, 6, 0); });
          moment(20ms);
        }
      });
      message got{};
      me.call("msgrcv", [&] { return msgrcv(queue.id, &got, sizeof got.text, 2, 0); });
      me.note("type", got.type);
      me.note("text", std::string_view(got.text));
      me.call("msgrcv of the other", [&] { return msgrcv(queue.id, &got, sizeof got.text, 0, 0); });
      me.note("type", got.type);
      me.call("msgrcv IPC_NOWAIT", [&] { return msgrcv(queue.id, &got, sizeof got.text, 0, IPC_NOWAIT); });
      me.join(peer);
    });
  }

  TEST_CASE("msgsnd waits for room") {
    compare([](actor& me) {
      const messages queue;
      msqid_ds how{};
      must(msgctl(queue.id, IPC_STAT, &how), "msgctl");
      how.msg_qbytes = 16;
      must(msgctl(queue.id, IPC_SET, &how), "msgctl");
      const message sent{1, "seven"};
      me.call("msgsnd", [&] { return msgsnd(queue.id, &sent, 8, 0); });
      me.call("msgsnd", [&] { return msgsnd(queue.id, &sent, 8, 0); });
      me.call("msgsnd IPC_NOWAIT", [&] { return msgsnd(queue.id, &sent, 8, IPC_NOWAIT); });
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        message got{};
        peer.call("msgrcv", [&] { return msgrcv(queue.id, &got, sizeof got.text, 0, 0); });
      });
      me.call("msgsnd", [&] { return msgsnd(queue.id, &sent, 8, 0); });
      me.join(peer);
    });
  }
}

TEST_SUITE("differential/mqueue") {
  TEST_CASE("mq_receive waits for a message, the most urgent first") {
    compare([](actor& me) {
      const posix_queue queue;
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("mq_send", [&] { return mq_send(queue.id, "one", 3, 1); });
      });
      char room[16];
      unsigned urgency = 0;
      long n = me.call("mq_receive", [&] { return mq_receive(queue.id, room, sizeof room, &urgency); });
      me.note("text", first(room, n));
      me.join(peer);
      me.call("mq_send", [&] { return mq_send(queue.id, "low", 3, 1); });
      me.call("mq_send", [&] { return mq_send(queue.id, "high", 4, 9); });
      n = me.call("mq_receive", [&] { return mq_receive(queue.id, room, sizeof room, &urgency); });
      me.note("text", first(room, n));
      me.note("urgency", urgency);
    });
  }

  TEST_CASE("mq_send waits for room") {
    compare([](actor& me) {
      const posix_queue queue;
      for (int i = 0; i < 2; ++i) must(mq_send(queue.id, "x", 1, 0), "mq_send");
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        char room[16];
        peer.call("mq_receive", [&] { return mq_receive(queue.id, room, sizeof room, nullptr); });
      });
      me.call("mq_send", [&] { return mq_send(queue.id, "y", 1, 0); });
      me.join(peer);
    });
  }

  TEST_CASE("a time limit ends the wait, and is not looked at where there is none") {
    compare([](actor& me) {
      const posix_queue queue;
      char room[16];
      const timespec soon = from_now(100ms), past{1, 0}, strange{0, 2'000'000'000};
      me.call_for(100ms, "mq_timedreceive",
                  [&] { return mq_timedreceive(queue.id, room, sizeof room, nullptr, &soon); });
      me.call_for(0ms, "one that is past", [&] { return mq_timedreceive(queue.id, room, sizeof room, nullptr, &past); });
      me.call("one that makes no sense",
              [&] { return mq_timedreceive(queue.id, room, sizeof room, nullptr, &strange); });
      me.call("mq_timedsend", [&] { return mq_timedsend(queue.id, "x", 1, 0, &past); });
      me.call("mq_timedreceive", [&] { return mq_timedreceive(queue.id, room, sizeof room, nullptr, &past); });
    });
  }

  TEST_CASE("what a queue refuses it refuses without a wait") {
    compare([](actor& me) {
      const posix_queue queue(2, O_NONBLOCK);
      char room[16];
      me.call("mq_receive, O_NONBLOCK", [&] { return mq_receive(queue.id, room, sizeof room, nullptr); });
      me.call("mq_receive into too little", [&] { return mq_receive(queue.id, room, 4, nullptr); });
      me.call("mq_send of too much", [&] { return mq_send(queue.id, std::string(17, 'x').c_str(), 17, 0); });
      ends e = pipe_pair();
      me.call("mq_receive from a pipe", [&] { return mq_receive(e.ours, room, sizeof room, nullptr); });
      me.call("mq_receive from what is closed", [&] { return mq_receive(999, room, sizeof room, nullptr); });
    });
  }
}
