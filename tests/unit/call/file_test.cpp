// Where a call that waits for a disk is made: options::files.
#include <doctest/doctest.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <string>

#include "call/faulty_call.hpp"
#include "lib/io/offload.hpp"
#include "support/descriptors.hpp"
#include "support/fault_plan.hpp"
#include "support/runtime.hpp"

using namespace unit;
using bide::sys::raw;

namespace {

// All that README calls disk, and only that.
faulty_calls disk_calls() {
  faulty_calls all;
  for (faulty_call& c : faulty_files())
    if (!c.elsewhere && c.nr != SYS_io_uring_setup) all.push_back(std::move(c));
  return all;
}

template <class Call>
unsigned jobs_of(Call call) {
  const auto before = bide::io::offloads_begun();
  call();
  return bide::io::offloads_begun() - before;
}

}  // namespace

TEST_SUITE("call/file") {
  TEST_CASE("each call that waits for a disk has one job of an offload thread where files are offloaded, else none") {
    for (const auto how : {bide::file_calls::direct, bide::file_calls::offloaded}) {
      in_runtime([&] {
        const unsigned wanted = how == bide::file_calls::offloaded;
        CAPTURE(wanted);
        int calls = 0;
        for (const faulty_call& c : disk_calls()) {
          CAPTURE(std::string(c.name));
          CHECK(jobs_of([&] { CHECK(c.well(c.make())); }) == wanted);
          ++calls;
        }
        CHECK(calls >= 20);
      }, {.files = how});
    }
  }

  TEST_CASE("a file is read on the worker while it is in memory, and written as files are") {
    for (const auto how : {bide::file_calls::direct, bide::file_calls::offloaded}) {
      in_runtime([&] {
        const unsigned wanted = how == bide::file_calls::offloaded;
        char path[] = "/tmp/bide-file.XXXXXX", room[4];
        const fd at(::mkstemp(path));
        ::unlink(path);
        CHECK(raw(SYS_pwrite64, +at, "some text", 9, 0) == 9);
        iovec v{room, 4};
        if (raw(SYS_preadv2, +at, &v, 1, 0, 0, RWF_NOWAIT) != 4) {
          MESSAGE("this file system doesn't tell what is in memory");
          return;
        }
        CHECK(jobs_of([&] { CHECK(make_call(SYS_read, at, room, 4) == 4); }) == 0);
        fault_plan faults;
        faults.on(SYS_preadv2).call(1).fail_with(EAGAIN);  // as the kernel says it of a page that is not there
        CHECK(jobs_of([&] { CHECK(make_call(SYS_read, at, room, 4) == 4); }) == wanted);
        CHECK(faults.faults() == 1);
        CHECK(jobs_of([&] { CHECK(make_call(SYS_write, at, room, 4) == 4); }) == wanted);
      }, {.files = how});
    }
  }
}
