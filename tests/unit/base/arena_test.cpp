#include "lib/base/arena.hpp"

#include <doctest/doctest.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "lib/sys/raw.hpp"
#include "support/sanitizer.hpp"

using namespace bide::base;

namespace {

bool is_mapped(const void* at) {
  unsigned char present;
  const auto page = reinterpret_cast<std::uintptr_t>(at) & ~std::uintptr_t{4095};
  return bide::sys::raw(SYS_mincore, page, 4096, &present) == 0;
}

bool is_resident(const void* at) {
  unsigned char present = 0;
  const auto page = reinterpret_cast<std::uintptr_t>(at) & ~std::uintptr_t{4095};
  bide::sys::raw(SYS_mincore, page, 4096, &present);
  return present & 1;
}

bool is_filled(const void* block, std::size_t size, unsigned char with) {
  const auto* bytes = static_cast<const unsigned char*>(block);
  return std::all_of(bytes, bytes + size, [with](unsigned char c) { return c == with; });
}

}  // namespace

TEST_SUITE("base/arena") {
  TEST_CASE("a block is zeroed, aligned to a cache line and as large as asked for") {
    std::vector<void*> blocks;
    for (const std::size_t size : {0, 1, 63, 64, 65, 4000, 65472, 65473, 1 << 20}) {
      CAPTURE(size);
      void* block = arena_allocate(size);
      REQUIRE(block);
      CHECK(reinterpret_cast<std::uintptr_t>(block) % 64 == 0);
      CHECK(is_filled(block, size, 0));
      std::memset(block, 0xaa, size);
      blocks.push_back(block);
    }
    for (void* block : blocks) arena_free(block);
  }

  TEST_CASE("a block that nobody had before takes memory as it is used") {
    // As many as no list of freed ones has: some are fresh.
    std::vector<void*> blocks;
    for (int i = 0; i < 64; ++i) blocks.push_back(arena_allocate(30'000));
    const auto untouched = [](void* block) { return !is_resident(static_cast<char*>(block) + 16'384); };
    CHECK(std::any_of(blocks.begin(), blocks.end(), untouched));
    for (void* block : blocks) arena_free(block);
  }

  TEST_CASE("a freed block serves the next request of its size, zeroed again") {
    void* first = arena_allocate(200);
    std::memset(first, 0xff, 200);
    arena_free(first);
    void* second = arena_allocate(300);
    CHECK(second == first);
    CHECK(is_filled(second, 300, 0));
    arena_free(second);
  }

  TEST_CASE("a block that is freed keeps out of the lists of other sizes") {
    void* small = arena_allocate(100);
    arena_free(small);
    void* large = arena_allocate(1000);
    CHECK(large != small);
    arena_free(large);
  }

  TEST_CASE("resizing keeps what fits and stays in place where there is room") {
    char* block = static_cast<char*>(arena_allocate(100));
    std::strcpy(block, "kept");
    char* same = static_cast<char*>(arena_resize(block, 190));
    CHECK(same == block);
    char* other = static_cast<char*>(arena_resize(same, 100'000));
    CHECK(other != block);
    CHECK(std::string_view(other) == "kept");
    char* larger = static_cast<char*>(arena_resize(other, 1'000'000));
    CHECK(std::string_view(larger) == "kept");
    CHECK(arena_resize(larger, 0) == nullptr);  // as realloc(3): freed
    CHECK(arena_resize(nullptr, 0) == nullptr);
    void* fresh = arena_resize(nullptr, 10);
    CHECK(fresh);
    arena_free(fresh);
    arena_free(nullptr);
  }

  TEST_CASE("a large block is a map of its own, given back when freed") {
    void* block = arena_allocate(3 << 20);
    REQUIRE(block);
    std::memset(block, 1, 3 << 20);
    CHECK(is_mapped(block));
    arena_free(block);
    CHECK_FALSE(is_mapped(block));
  }

  TEST_CASE("what the kernel can't give is null") {
    CHECK(arena_allocate(std::size_t{1} << 50) == nullptr);
    CHECK(reserve(std::size_t{1} << 60) == nullptr);
    void* block = arena_allocate(10);
    CHECK(arena_resize(block, std::size_t{1} << 50) == nullptr);
    arena_free(block);  // still the caller's
  }

  TEST_CASE("reserved address space has no memory behind it until it is used") {
    constexpr std::size_t size = std::size_t{1} << 30;
    auto* space = static_cast<char*>(reserve(size));
    REQUIRE(space);
    space[size / 2] = 1;
    unsigned char present[512];
    std::size_t resident = 0;
    for (std::size_t at = 0; at < size; at += sizeof present * 4096) {
      REQUIRE(bide::sys::raw(SYS_mincore, space + at, sizeof present * 4096, present) == 0);
      resident += static_cast<std::size_t>(std::count_if(present, present + sizeof present, [](auto p) { return p & 1; }));
    }
    CHECK(resident == 1);
    bide::sys::raw(SYS_munmap, space, size);
  }

  TEST_CASE("threads that allocate and free at the same time never share a block") {
    // Each block carries its owner's mark until it is freed.
    std::vector<std::thread> threads;
    std::atomic<int> overlaps{0};
    for (unsigned char mark = 1; mark <= 4; ++mark) {
      threads.emplace_back([mark, &overlaps] {
        std::mt19937 random(mark);
        std::vector<std::pair<void*, std::size_t>> mine;
        for (int i = 0; i < unit::rounds(20'000); ++i) {
          if (mine.size() < 50 && random() % 2) {
            const std::size_t size = random() % 3000;
            void* block = arena_allocate(size);
            if (!is_filled(block, size, 0)) ++overlaps;
            std::memset(block, mark, size);
            mine.emplace_back(block, size);
          } else if (!mine.empty()) {
            std::swap(mine[random() % mine.size()], mine.back());
            if (!is_filled(mine.back().first, mine.back().second, mark)) ++overlaps;
            arena_free(mine.back().first);
            mine.pop_back();
          }
        }
        for (const auto& [block, size] : mine) arena_free(block);
      });
    }
    for (std::thread& t : threads) t.join();
    CHECK(overlaps == 0);
  }
}
