// stdio on what may wait: a peer goes on meanwhile, on the same worker.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wchar.h>

#include <string>
#include <utility>

#include "compare.hpp"
#include "things.hpp"

using namespace differential;

namespace {

struct streams {
  explicit streams(bool socket) {
    int both[2];
    must(socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, both) : pipe(both), "a pair");
    in = fdopen(both[0], "r");
    out = fdopen(both[1], "w");
  }
  ~streams() {
    if (in) fclose(in);
    if (out) fclose(out);
  }
  void end() {
    fclose(out);
    out = nullptr;
  }
  FILE *in, *out;
};

// Reads all there is, once the caller waits.
actor& start_reader(actor& me, FILE* in, std::string& got) {
  return me.start("peer", [&me, in, &got](actor& peer) {
    peer.until_waiting(me);
    char bytes[4096];
    for (ssize_t n; (n = read(fileno(in), bytes, sizeof bytes)) > 0;) got.append(bytes, static_cast<std::size_t>(n));
  });
}

// Reads what a pipe was filled with, and the five bytes behind it, once the caller waits.
actor& start_reader_of_five(actor& me, FILE* in, std::size_t filled) {
  return me.start("peer", [&me, in, filled](actor& peer) {
    peer.until_waiting(me);
    peer.note("filling", read_all(fileno(in), filled).size() == filled);
    peer.note("text", read_all(fileno(in), 5));
  });
}

// More than there is room for notes of.
class many {
 public:
  many(actor& me, int count, std::function<void(int)> what) {
    for (int i = 0; i < count; ++i) {
      if (me.how() == means::fibers) fibers_.push_back(bide::spawn(what, i));
      else threads_.emplace_back(what, i);
    }
  }
  void join() {
    for (auto& one : fibers_) one.join();
    for (auto& one : threads_) one.join();
  }

 private:
  std::vector<bide::task<void>> fibers_;
  std::vector<std::thread> threads_;
};

}  // namespace

TEST_SUITE("differential/stdio") {
  TEST_CASE("a stream's line, bytes and numbers are waited for beside others") {
    for (const bool socket : {false, true}) {
      compare([socket](actor& me) {
        streams s(socket);
        actor& peer = me.start("peer", [&](actor& peer) {
          for (const char* part : {"first ", "line\nmore", " of it\n", "12", " 34 ", "abc", "defgh"}) {
            peer.until_waiting(me);
            peer.call("write", [&] { return write(fileno(s.out), part, strlen(part)); });
            usleep(20'000);
          }
          s.end();
        });
        char line[80] = "", *text = nullptr;
        size_t room = 0;
        me.call("fgets", [&] { return fgets(line, sizeof line, s.in) != nullptr; });
        me.note("line", line);
        me.call("getline", [&] { return getline(&text, &room, s.in); });
        me.note("text", text);
        free(text);
        int a = 0, b = 0;
        me.call("fscanf", [&] { return fscanf(s.in, "%d %d ", &a, &b); });
        me.note("sum", a + b);
        me.call("fread", [&] { return static_cast<long>(fread(line, 1, 6, s.in)); });
        me.note("bytes", std::string(line, 6));
        me.call("getc", [&] { return getc(s.in); });
        me.call("fread to the end", [&] { return static_cast<long>(fread(line, 1, 6, s.in)); });
        me.note("end", feof(s.in) != 0);
        me.join(peer);
      });
    }
  }

  TEST_CASE("what is printed to a full pipe waits for its reader, and no byte is lost or doubled") {
    compare([](actor& me) {
      streams s(false);
      std::string got;
      actor& peer = start_reader(me, s.in, got);
      std::string wanted;
      me.call("fprintf", [&] {
        int bytes = 0;
        for (int i = 0; i < 20'000; ++i) {
          bytes += fprintf(s.out, "%d\n", i);
          wanted += std::to_string(i) + '\n';
        }
        return bytes;
      });
      const std::string more(100'000, 'x');
      me.call("fputs", [&] { return fputs(more.c_str(), s.out) >= 0; });
      me.call("fflush", [&] { return fflush(s.out); });
      me.call("dprintf", [&] { return dprintf(fileno(s.out), "%s", more.c_str()); });
      s.end();
      me.join(peer);
      me.note("all", got == wanted + more + more);
    });
  }

  TEST_CASE("what a buffer still has waits for room when it is flushed or closed") {
    compare([](actor& me) {
      for (const bool closes : {false, true}) {
        streams s(false);
        actor& peer = start_reader_of_five(me, s.in, fill(fileno(s.out)));
        me.call("fputs", [&] { return fputs("hello", s.out) >= 0; });
        me.call(closes ? "fclose" : "fflush", [&] { return closes ? fclose(std::exchange(s.out, nullptr)) : fflush(s.out); });
        me.join(peer);
      }
    });
  }

  TEST_CASE("two that print to one unbuffered stream don't mix within a line") {
    compare([](actor& me) {
      streams s(false);
      setvbuf(s.out, nullptr, _IOLBF, 0);
      const std::string a(9'000, 'a'), b(9'000, 'b');
      actor& first = me.start("first", [&](actor& one) {
        for (int i = 0; i < 20; ++i) one.call("fprintf", [&] { return fprintf(s.out, "%s\n", a.c_str()); });
      });
      actor& second = me.start("second", [&](actor& one) {
        for (int i = 0; i < 20; ++i) one.call("fprintf", [&] { return fprintf(s.out, "%s\n", b.c_str()); });
      });
      me.until_waiting(first);
      me.until_waiting(second);
      int whole = 0;
      char* line = nullptr;
      size_t room = 0;
      for (int i = 0; i < 40 && getline(&line, &room, s.in) > 0; ++i) whole += line == a + '\n' || line == b + '\n';
      free(line);
      me.join(first);
      me.join(second);
      me.note("whole", whole);
    });
  }

  TEST_CASE("a stream that its caller has locked is read as ever") {
    compare([](actor& me) {
      streams s(false);
      must(write(fileno(s.out), "ab\n", 3), "write");
      flockfile(s.in);
      char line[8] = "";
      me.call("fgets", [&] { return fgets(line, sizeof line, s.in) != nullptr; });
      funlockfile(s.in);
      me.note("line", line);
    });
  }

  TEST_CASE("wide characters, lines and numbers are waited for beside others") {
    for (const bool socket : {false, true}) {
      compare([socket](actor& me) {
        streams s(socket);
        actor& peer = me.start("peer", [&](actor& peer) {
          for (const char* part : {"a", "first ", "line\nmore", " of it\n", "12", " 34 "}) {
            peer.until_waiting(me);
            peer.call("write", [&] { return write(fileno(s.out), part, strlen(part)); });
            usleep(20'000);
          }
          s.end();
        });
        wchar_t line[80] = L"";
        const auto text = [&] {
          std::string narrow;
          for (const wchar_t* c = line; *c; ++c) narrow += static_cast<char>(*c);
          return narrow;
        };
        me.call("fgetwc", [&] { return static_cast<long>(fgetwc(s.in)); });
        me.call("fgetws", [&] { return fgetws(line, 80, s.in) != nullptr; });
        me.note("line", text());
        me.call("getwc", [&] { return static_cast<long>(getwc(s.in)); });
        me.call("ungetwc", [&] { return static_cast<long>(ungetwc(L'M', s.in)); });
        me.call("fgetws", [&] { return fgetws(line, 80, s.in) != nullptr; });
        me.note("line", text());
        int a = 0, b = 0;
        me.call("fwscanf", [&] { return fwscanf(s.in, L"%d %d ", &a, &b); });
        me.note("sum", a + b);
        me.call("fgetwc at the end", [&] { return static_cast<long>(fgetwc(s.in)); });
        me.note("end", feof(s.in) != 0);
        me.join(peer);
      });
    }
  }

  TEST_CASE("what is printed wide to a full pipe waits for its reader, and no byte is lost or doubled") {
    compare([](actor& me) {
      streams s(false);
      std::string got;
      actor& peer = start_reader(me, s.in, got);
      std::string wanted;
      me.call("fwprintf", [&] {
        int count = 0;
        for (int i = 0; i < 15'000; ++i) {
          count += fwprintf(s.out, L"%d\n", i);
          wanted += std::to_string(i) + '\n';
        }
        return count;
      });
      const std::string more(100'000, 'x');
      me.call("fputws", [&] { return fputws(std::wstring(100'000, L'x').c_str(), s.out) >= 0; });
      me.call("fputwc", [&] {
        for (int i = 0; i < 100'000; ++i) {
          if (fputwc(L'x', s.out) != L'x') return false;
        }
        return true;
      });
      me.call("fflush", [&] { return fflush(s.out); });
      s.end();
      me.join(peer);
      me.note("all", got == wanted + more + more);
    });
  }

  TEST_CASE("what takes a stream's lock waits beside others while a reader has it") {
    for (const auto& [what, call] : std::initializer_list<std::pair<const char*, long (*)(FILE*)>>{
             {"feof", [](FILE* f) -> long { return feof(f) != 0; }},
             {"ferror", [](FILE* f) -> long { return ferror(f) != 0; }},
             {"clearerr", [](FILE* f) -> long { return clearerr(f), 0; }},
             {"ungetc", [](FILE* f) -> long { return ungetc('u', f); }},
             {"ftell", [](FILE* f) -> long { return ftell(f); }},
             {"fseek", [](FILE* f) -> long { return fseek(f, 1, SEEK_SET); }},
             {"fgetpos", [](FILE* f) -> long {
                fpos_t at;
                return fgetpos(f, &at);
              }},
             {"rewind", [](FILE* f) -> long { return rewind(f), 0; }},
             {"setvbuf", [](FILE* f) -> long { return setvbuf(f, nullptr, _IOFBF, 512); }}}) {
      compare([&](actor& me) {
        streams s(false);
        char line[16] = "";
        actor& reader = me.start("reader", [&](actor& one) { one.call("fgets", [&] { return fgets(line, sizeof line, s.in) != nullptr; }); });
        actor& writer = me.start("writer", [&](actor& one) {
          one.until_waiting(reader);
          one.until_waiting(me);
          one.call("write", [&] { return write(fileno(s.out), "line\n", 5); });
        });
        me.until_waiting(reader);
        me.call(what, [&] { return call(s.in); });
        me.join(reader);
        me.join(writer);
        me.note("line", line);
      });
    }
  }

  TEST_CASE("moving in a stream flushes to a full pipe beside its reader") {
    compare([](actor& me) {
      streams s(false);
      actor& peer = start_reader_of_five(me, s.in, fill(fileno(s.out)));
      me.call("fputs", [&] { return fputs("hello", s.out) >= 0; });
      me.call("fseek", [&] { return fseek(s.out, 0, SEEK_CUR); });
      me.call("fflush", [&] { return fflush(s.out); });
      me.join(peer);
    });
  }

  TEST_CASE("words are read and written as numbers are") {
    compare([](actor& me) {
      streams s(false);
      actor& peer = me.start("peer", [&](actor& peer) {
        peer.until_waiting(me);
        peer.call("putw", [&] { return putw(0x1234567, s.out); });
        peer.call("fflush", [&] { return fflush(s.out); });
      });
      me.call("getw", [&] { return getw(s.in); });
      me.join(peer);
    });
  }

  TEST_CASE("a hundred waits for semaphores, each raised by who waits for the one before, come to an end") {
    compare([](actor& me) {
      std::vector<sem_t> chain(101);
      for (sem_t& s : chain) sem_init(&s, 0, 0);
      many peers(me, 100, [&](int i) {
        sem_wait(&chain[static_cast<std::size_t>(99 - i)]);
        sem_post(&chain[static_cast<std::size_t>(100 - i)]);
      });
      usleep(50'000);
      sem_post(&chain[0]);
      peers.join();
      me.note("last", sem_trywait(&chain[100]));
    });
  }

  TEST_CASE("a hundred meet at a barrier") {
    compare([](actor& me) {
      pthread_barrier_t barrier;
      pthread_barrier_init(&barrier, nullptr, 100);
      std::atomic<int> last{0};
      many peers(me, 100, [&](int) { last += pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD; });
      peers.join();
      me.note("last", last.load());
      pthread_barrier_destroy(&barrier);
    });
  }
}
