// The matrix's kinds of descriptors, and what goes from one end of them to the other.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "things.hpp"

namespace differential {

// counts: eventfd's eight bytes. tells: nobody writes to it. only_ready: nobody reads from it either.
enum trait : unsigned { socket_kind = 1, stream = 2, tcp = 4, two_ends = 8, fills = 16, counts = 32, tells = 64, only_ready = 128 };

// The two ends, and what went between them.
struct channel : ends {
  std::size_t filled = 0;          // bytes that went in so that it is full
  std::vector<std::string> taken;  // what the end that reads has taken out, piece by piece
  std::atomic<bool> is_over = false;  // the call on it came back
};

struct descriptor {
  std::string name;
  unsigned traits;
  ends (*make)();
  void (*say)(ends&);                    // makes our end readable
  std::size_t unit = 8;                  // bytes that are asked for where one piece is
  std::size_t same = std::string::npos;  // of a piece, so many bytes from its start are the same in all processes

  bool is(unsigned all) const { return (traits & all) == all; }
};

// SIGUSR2 is blocked then, in all threads to come: a signalfd tells of it.
std::span<const descriptor> descriptors();

// Takes what is there to be read.
void take(int from, channel&);
// Takes as well what is still on its way, up to so many bytes in all.
void take_rest(int from, channel&, std::size_t expected);
// All that was taken after what filled it: how many bytes, their checksum, and how many messages if it carries such.
std::string delivered(const descriptor&, const channel&);

}  // namespace differential
