// A worker: a kernel thread with a run queue and a loop. Its turn is in one function, run().
#pragma once

#include <atomic>
#include <cstdint>

#include "lib/fiber/worker_core.hpp"
#include "lib/io/reactor.hpp"

namespace bide::core {

struct worker : worker_core {
  // Makes ready to run: descriptors and memory. Returns 0 or -errno with nothing left open.
  int open(core::runtime&) noexcept;
  // On its own thread: runs fibers until the runtime stops it.
  void run() noexcept;
  // After run().
  void shut() noexcept;

  // Of a stepped runtime, on the thread that steps it: runs what is ready, at least once round, until about `until`.
  // Returns when it wants to be stepped again: 0 if fibers are ready.
  std::int64_t step(std::int64_t until) noexcept;
  void begin_closing_stepped() noexcept;
  bool unfinished() const noexcept { return live.load() != 0 || incoming.load() != 0 || !in.empty(); }

  // From now on the dice choose who runs next, and the clock shows the time they leave it. Before the first fiber.
  void roll_dice(std::uint64_t seed) noexcept;

  // Cancels every fiber here. Worker only.
  void cancel_all() noexcept;

  io::reactor io;

  // Whether it sleeps with nothing of its own that could wake it: no timer, no descriptor.
  std::atomic<bool> hopeless{false};
  std::atomic<std::uint32_t> wakes{0};  // times it has stopped being hopeless; before it delivers
  std::atomic<bool> news_on_its_way{false};
  message stuck_news;                   // from whoever found out that everybody waits for nothing

 private:
  std::uint32_t turns_unpolled_ = 0;  // of a seeded runtime
  bool ran_since_rest_ = false;       // of a seeded runtime
  std::uint32_t offloads_seen_ = 0;   // of a seeded runtime: those begun that it has given time to end

  void begin_here() noexcept;
  void leave_here() noexcept;
  void take_turn() noexcept;
  bool look_around() noexcept;
  void rest() noexcept;
  fiber& take_by_chance() noexcept;
  bool rest_in_shown_time() noexcept;
  void await_offload() noexcept;
  bool doze(std::int64_t until) noexcept;
  void rest_without_hope() noexcept;
};

}  // namespace bide::core
