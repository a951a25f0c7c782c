#include "lib/sys/features.hpp"

#include <doctest/doctest.h>

#include <string>

#include "support/scene.hpp"

namespace {

using unit::scene;

const scene features_two_off{"features two off", [] {
  const bide::sys::feature_set& f = bide::sys::features();
  EXPECT(f.guard_install);
  EXPECT(!f.rwf_nowait);
  EXPECT(f.io_uring);
  EXPECT(!f.epoll_pwait2);
  EXPECT(f.close_range);
}};

const scene features_all_on{"features all on", [] {
  const bide::sys::feature_set& f = bide::sys::features();
  EXPECT((f.guard_install && f.rwf_nowait && f.io_uring && f.epoll_pwait2 && f.close_range));
}};

const scene features_all_off{"features all off", [] {
  const bide::sys::feature_set& f = bide::sys::features();
  EXPECT(!(f.guard_install || f.rwf_nowait || f.io_uring || f.epoll_pwait2 || f.close_range));
}};

}  // namespace

TEST_SUITE("sys/features") {
  TEST_CASE("BIDE_DISABLE turns off what it names and nothing else") {
    for (const char* two : {"BIDE_DISABLE=rwf_nowait,epoll_pwait2", "BIDE_DISABLE=,epoll_pwait2,,unheard_of,rwf_nowait,"})
      CHECK_MESSAGE(features_two_off.play({two}).exited(0), two);
    for (const char* none : {"BIDE_DISABLE=", "BIDE_DISABLE=io", "BIDE_DISABLE=io_uring2", "BIDE_DISABLE= io_uring"})
      CHECK_MESSAGE(features_all_on.play({none}).exited(0), none);
    CHECK(bide::sys::unknown_feature(",epoll_pwait2,,unheard_of,other,") == "unheard_of");
    CHECK(bide::sys::unknown_feature("io_uring2") == "io_uring2");
    for (const char* known : {"", ",", "trap", bide::sys::feature_names.data()}) {
      std::string list = known;
      std::erase(list, ' ');
      CHECK(bide::sys::unknown_feature(list).empty());
    }
    CHECK(features_all_off.play({"BIDE_DISABLE=close_range,guard_install,rwf_nowait,io_uring,epoll_pwait2"}).exited(0));
  }
}
