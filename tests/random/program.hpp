// Random programs of several parties whose history is determined: what each party sees doesn't depend on who is quicker.
//
// A program is a list of steps in an order in which one party after the other could do them. Each party does its own in that
// order; a step waits for earlier ones only, or for the one it meets. So no program deadlocks, whatever runs it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace random_programs {

enum class act : std::uint8_t {
  send, receive,        // some bytes through a channel; the receiver waits for all of them
  pour, drain,          // more bytes than a channel holds; the two meet
  shut, end,            // the writer closes or shuts down; the reader sees the end
  renumber,             // the writer's or reader's descriptor becomes another number, by dup and close
  count,                // a counter under a mutex, held across a nap
  raise, await,         // a level under a condition variable, raised and waited for
  post, take,           // an eventfd that counts as a semaphore
  expire,               // a wait of 1-4 ms for what never comes: by SO_RCVTIMEO, poll, select, epoll
  refuse,               // O_NONBLOCK or MSG_DONTWAIT: EAGAIN
  nap,                  // sleeps or yields
  connect, accept,      // over a listener; they meet
};

struct step {
  act what;
  std::uint8_t party;
  std::uint8_t object;   // channel, mutex, level, ...; means what the act says
  std::uint8_t way;      // which of several calls
  std::uint32_t amount;  // bytes, level
};

struct program {
  std::uint64_t seed;
  unsigned parties;
  std::vector<step> steps;
};

program generate(std::uint64_t seed);

// Drops the steps that could not be done any more, after others were taken out.
void mend(program&);

// What each party saw, a line for each of its steps, and at the end what all did together.
using history = std::vector<std::string>;
enum class means { threads, fibers };
// 0 workers: a seeded runtime, whose course the seed fixes.
history play(const program&, means, unsigned workers, std::uint64_t seed);

std::string show(const program&);

// Small, quick, and the same everywhere.
class dice {
 public:
  explicit dice(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
  std::uint32_t operator()(std::uint32_t below) {
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
    return static_cast<std::uint32_t>((state_ >> 33) % below);
  }

 private:
  std::uint64_t state_;
};

}  // namespace random_programs
