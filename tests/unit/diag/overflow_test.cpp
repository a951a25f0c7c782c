// A stack overflow says whose stack it was, and the process dies as it would have.
#include <doctest/doctest.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "support/runtime.hpp"
#include "support/sanitizer.hpp"
#include "support/scene.hpp"

using namespace unit;

namespace {

#pragma GCC diagnostic ignored "-Winfinite-recursion"

[[gnu::noinline]] int dig(volatile char* above) {
  volatile char room[256];
  room[0] = above ? above[0] : 'x';
  const int deeper = dig(room);
  room[1] = static_cast<char>(deeper);  // no tail call
  return deeper + room[1];
}

void overflow() { dig(nullptr); }

[[gnu::noipa]] void touch_nothing(volatile int* at) { *at = 1; }

const scene named_fiber{"overflow in a named fiber", [] {
  bide::run([] { bide::spawn({.name = "digger", .stack_size = 64 * 1024}, overflow).join(); });
}};

const scene on_second_worker{"overflow on the second worker", [] {
  bide::run([] {
    auto t = bide::spawn({.name = "far digger"}, [] {
      EXPECT(here() == 1);
      overflow();
    });
    t.join();
  }, {.workers = 2});
}};

const scene spawned_with_arguments{"overflow in a fiber with arguments", [] {
  bide::run([] { bide::spawn([](int) { overflow(); }, 1).join(); });
}};

const scene first_fiber{"overflow in the first fiber", [] { bide::run(overflow, {.stack_size = 128 * 1024}); }};

const scene handler_of_program{"the program's own handler", [] {
  static char alternate[64 * 1024];
  stack_t s{};
  s.ss_sp = alternate;
  s.ss_size = sizeof alternate;
  sigaltstack(&s, nullptr);
  struct sigaction mine {};
  mine.sa_flags = SA_ONSTACK;
  mine.sa_handler = [](int) {
    const char said[] = "the program's handler\n";
    (void)!write(2, said, sizeof said - 1);
    _exit(3);
  };
  sigaction(SIGSEGV, &mine, nullptr);
  bide::run([] { bide::spawn({.name = "digger"}, overflow).join(); });
}};

const scene other_fault{"another fault", [] {
  bide::run([] { bide::spawn({.name = "innocent"}, [] { touch_nothing(nullptr); }).join(); });
}};

const scene sent_signal{"a signal that was sent", [] { bide::run([] { kill(getpid(), SIGSEGV); }); }};

const scene after_run{"a fault after run", [] {
  bide::run([] {});
  struct sigaction now {};
  sigaction(SIGSEGV, nullptr, &now);
  EXPECT(now.sa_handler == SIG_DFL);
  stack_t s{};
  sigaltstack(nullptr, &s);
  EXPECT((s.ss_flags & SS_DISABLE));
}};

}  // namespace

TEST_SUITE("diag/overflow") {
  TEST_CASE("an overflow is reported with name, place of spawn and size of the stack, and is deadly") {
    SKIP_IF(sanitized, "the sanitizer reports the overflow itself");
    const auto end = named_fiber.play();
    INFO(end.text);
    CHECK(end.died_of(SIGSEGV));
    CHECK(end.says("bide: stack overflow in fiber "));
    CHECK(end.says("'digger' (spawned at "));
    CHECK(end.says("overflow_test.cpp:"));
    CHECK(end.says("its stack of 64 KiB is used up"));
    CHECK(end.says("spawn_options::stack_size"));
    CHECK(end.times("bide: ") == 1);
  }

  TEST_CASE("on any worker, and in the first fiber, and where the place is an address") {
    SKIP_IF(sanitized, "the sanitizer reports the overflow itself");
    const auto second = on_second_worker.play(), first = first_fiber.play(), arguments = spawned_with_arguments.play();
    CAPTURE(second.text);
    CAPTURE(first.text);
    CAPTURE(arguments.text);
    for (const auto* end : {&second, &first, &arguments}) CHECK(end->died_of(SIGSEGV));
    CHECK(second.says("'far digger'"));
    CHECK(second.says("256 KiB"));
    CHECK(first.says("'main'"));
    CHECK(first.says("128 KiB"));
    CHECK(arguments.says("spawned from 0x"));
  }

  TEST_CASE("with protected guards as with installed ones") {
    SKIP_IF(sanitized, "the sanitizer reports the overflow itself");
    const auto end = named_fiber.play({"BIDE_DISABLE=guard_install"});
    CHECK(end.died_of(SIGSEGV));
    CHECK(end.says("'digger'"));
  }

  TEST_CASE("the program's own handler comes after the report") {
    SKIP_IF(sanitized, "the sanitizer has a handler of its own");
    const auto end = handler_of_program.play();
    INFO(end.text);
    CHECK(end.exited(3));
    CHECK(end.text.find("the program's handler") > end.text.find("'digger'"));
  }

  TEST_CASE("any other fault dies of itself, without a word of an overflow") {
    SKIP_IF(sanitized, "the sanitizer reports the fault");
    for (const auto* s : {&other_fault, &sent_signal}) {
      const auto end = s->play();
      CHECK(end.died_of(SIGSEGV));
      CHECK_FALSE(end.says("overflow"));
    }
  }

  TEST_CASE("when the last runtime has ended the signal is as it was") {
    SKIP_IF(sanitized, "the sanitizer has a handler of its own");
    CHECK(after_run.play().exited(0));
  }
}
