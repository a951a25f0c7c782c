#include <algorithm>
#include <map>

#include "program.hpp"

namespace random_programs {

namespace {

constexpr unsigned channels_most = 4, mutexes = 2, levels = 2, semaphores = 2;

// A channel's ends belong to one party each.
unsigned writer_of(const program& p, unsigned channel) { return channel % p.parties; }
unsigned reader_of(const program& p, unsigned channel) {
  return (channel + 1 + channel / p.parties % (p.parties - 1)) % p.parties;
}

struct state {
  std::uint32_t bytes[channels_most] = {}, level[levels] = {}, permits[semaphores] = {};
  bool shut[channels_most] = {};
};

std::uint8_t small(std::uint32_t n) { return static_cast<std::uint8_t>(n); }

void add_one(program& p, state& s, dice& roll) {
  const auto party = small(roll(p.parties));
  const auto channel = small(roll(channels_most));
  const auto way = small(roll(64));
  const auto put = [&](act what, unsigned who, unsigned object, std::uint32_t amount = 0) {
    p.steps.push_back({what, small(who), small(object), way, amount});
  };
  switch (roll(20)) {
    case 0: case 1: case 2: case 3: case 4:
      if (s.shut[channel] || s.bytes[channel] > 2000) return;
      put(act::send, writer_of(p, channel), channel, 1 + roll(700));
      s.bytes[channel] += p.steps.back().amount;
      return;
    case 5: case 6: case 7: case 8:
      if (!s.bytes[channel]) return;
      put(act::receive, reader_of(p, channel), channel, 1 + roll(s.bytes[channel]));
      s.bytes[channel] -= p.steps.back().amount;
      return;
    case 9: {
      if (s.shut[channel] || s.bytes[channel]) return;
      const std::uint32_t amount = 100'000 + roll(400'000);
      put(act::pour, writer_of(p, channel), channel, amount);
      put(act::drain, reader_of(p, channel), channel, amount);
      return;
    }
    case 10:
      if (s.shut[channel] || s.bytes[channel] || roll(3)) return;
      s.shut[channel] = true;
      put(act::shut, writer_of(p, channel), channel);
      put(act::end, reader_of(p, channel), channel);
      return;
    case 11:
      if (s.shut[channel]) return;
      put(act::renumber, way % 2 ? writer_of(p, channel) : reader_of(p, channel), channel);
      return;
    case 12: put(act::count, party, roll(mutexes)); return;
    case 13: {
      const unsigned which = roll(levels);
      put(act::raise, party, which);
      ++s.level[which];
      return;
    }
    case 14: {
      const unsigned which = roll(levels);
      if (s.level[which]) put(act::await, party, which, s.level[which]);
      return;
    }
    case 15: {
      const unsigned which = roll(semaphores);
      put(act::post, party, which);
      ++s.permits[which];
      return;
    }
    case 16: {
      const unsigned which = roll(semaphores);
      if (!s.permits[which]) return;
      --s.permits[which];
      put(act::take, which % p.parties, which);  // one taker: among several, who gets which permit would be chance
      return;
    }
    case 17: put(roll(2) ? act::expire : act::refuse, party, 0, 1 + roll(4)); return;
    case 18: put(act::nap, party, 0, roll(3)); return;
    case 19: {
      const unsigned other = (party + 1 + roll(p.parties - 1)) % p.parties;
      // A listener for each two, so that whoever is quicker meets nobody else.
      put(act::connect, party, party * p.parties + other);
      put(act::accept, other, party * p.parties + other);
      return;
    }
  }
}

}  // namespace

program generate(std::uint64_t seed) {
  dice roll(seed);
  for (int i = 0; i < 8; ++i) roll(2);
  program p{seed, 2 + roll(4), {}};
  state s;
  const unsigned length = 6 + roll(35);
  while (p.steps.size() < length) add_one(p, s, roll);
  return p;
}

void mend(program& p) {
  state s;
  std::vector<step> kept;
  for (std::size_t i = 0; i < p.steps.size(); ++i) {
    const step& now = p.steps[i];
    const auto meets = [&](act other) {
      return i + 1 < p.steps.size() && p.steps[i + 1].what == other && p.steps[i + 1].object == now.object;
    };
    bool good = true;
    switch (now.what) {
      case act::send: s.bytes[now.object] += now.amount; break;
      case act::receive:
        good = s.bytes[now.object] >= now.amount;
        if (good) s.bytes[now.object] -= now.amount;
        break;
      // What meets another goes with it; what was left over by a dropped receive stays in a drain's way.
      case act::pour: good = meets(act::drain) && p.steps[i + 1].amount == now.amount && !s.bytes[now.object]; break;
      case act::shut: good = meets(act::end) && !s.bytes[now.object]; break;
      case act::connect: good = meets(act::accept); break;
      case act::drain: case act::end: case act::accept:
        good = !kept.empty() && i > 0 && kept.back().object == now.object &&
               ((now.what == act::drain && kept.back().what == act::pour) ||
                (now.what == act::end && kept.back().what == act::shut) ||
                (now.what == act::accept && kept.back().what == act::connect));
        break;
      case act::raise: ++s.level[now.object]; break;
      case act::await: good = s.level[now.object] >= now.amount; break;
      case act::post: ++s.permits[now.object]; break;
      case act::take:
        good = s.permits[now.object] > 0;
        if (good) --s.permits[now.object];
        break;
      default: break;
    }
    if (good) kept.push_back(now);
  }
  p.steps = std::move(kept);
}

std::string show(const program& p) {
  static const char* const names[] = {"send",  "receive", "pour", "drain", "shut",   "end",    "renumber", "count", "raise",
                                      "await", "post",    "take", "expire", "refuse", "nap", "connect",  "accept"};
  std::string text = "program " + std::to_string(p.seed) + ", " + std::to_string(p.parties) + " parties\n";
  for (const step& s : p.steps)
    text += "  party " + std::to_string(s.party) + ": " + names[static_cast<int>(s.what)] + " on " +
            std::to_string(s.object) + ", way " + std::to_string(s.way) + ", amount " + std::to_string(s.amount) + '\n';
  return text;
}

}  // namespace random_programs
