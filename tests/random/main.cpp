// Random programs, on kernel threads and in fibers under several seeds and numbers of workers, their histories compared.
//
//   random [--programs N] [--from SEED] [--jobs N] [--courses N]
//
// --courses: how many seeds of a seeded runtime each program is played under as well. One that differs there does so each time:
// it says with which seed, and `random --programs 1 --from PROGRAM --seed SEED` replays that alone.
// A program that differs, hangs or crashes is made as small as it still does, and shown. Exit status: 1 if there is one.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "program.hpp"

using namespace random_programs;

namespace {

// In memory that a process that dies leaves behind.
struct verdict {
  std::atomic<std::uint64_t> at;  // the seed it is at
  char why[4000];
};

constexpr unsigned patience = 20;  // seconds for one program; it takes some milliseconds

std::string difference(const history& threads, const history& fibers) {
  for (std::size_t i = 0; i < threads.size(); ++i)
    if (threads[i] != fibers[i])
      return "  party " + std::to_string(i) + "\n    threads " + threads[i] + "\n    fibers  " + fibers[i] + '\n';
  return {};
}

unsigned courses = 2;
std::uint64_t only = 0;  // --seed

std::string judge(const program& p) {
  alarm(patience);
  const history threads = play(p, means::threads, 0, p.seed);
  for (unsigned i = 0; i < (only ? 1 : courses); ++i) {
    const std::uint64_t seed = only ? only : p.seed * courses + i;
    const std::string why = difference(threads, play(p, means::fibers, 0, seed));
    if (!why.empty()) return "under seed " + std::to_string(seed) + '\n' + why;
  }
  if (only) return {};
  for (const unsigned workers : {1u, 2u, 4u}) {
    const std::string why = difference(threads, play(p, means::fibers, workers, p.seed + workers));
    if (!why.empty()) return "with " + std::to_string(workers) + " workers\n" + why;
  }
  alarm(0);
  return {};
}

verdict* make_verdict() {
  void* const room = mmap(nullptr, sizeof(verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) std::exit(2);
  return static_cast<verdict*>(room);
}

std::string ending(int status) {
  if (!WIFSIGNALED(status)) return WEXITSTATUS(status) > 1 ? "exits with " + std::to_string(WEXITSTATUS(status)) : "";
  return WTERMSIG(status) == SIGALRM ? "hangs" : std::string("dies of SIG") + sigabbrev_np(WTERMSIG(status));
}

// In a process of its own. Returns what is wrong, or nothing.
std::string judge_apart(const program& p) {
  verdict* const v = make_verdict();
  if (fork() == 0) {
    std::snprintf(v->why, sizeof v->why, "%s", judge(p).c_str());
    _exit(0);
  }
  int status = 0;
  wait(&status);
  std::string why = ending(status).empty() ? v->why : ending(status);
  munmap(v, sizeof *v);
  return why;
}

// Takes out what is not needed for it to go wrong, in five tries, for some do by chance.
void shrink(program& p) {
  const auto goes_wrong = [](const program& q) {
    for (int i = 0; i < 5; ++i)
      if (!judge_apart(q).empty()) return true;
    return false;
  };
  for (std::size_t length = std::max<std::size_t>(p.steps.size() / 2, 1); length > 0; length /= 2) {
    for (std::size_t at = 0; at < p.steps.size();) {
      program less = p;
      less.steps.erase(less.steps.begin() + static_cast<long>(at),
                       less.steps.begin() + static_cast<long>(std::min(at + length, less.steps.size())));
      mend(less);
      if (less.steps.size() < p.steps.size() && goes_wrong(less)) p = less;
      else at += length;
    }
  }
}

bool report(std::uint64_t seed, const std::string& why) {
  program p = generate(seed);
  std::printf("program %llu: %s\n", static_cast<unsigned long long>(seed), why.c_str());
  std::fflush(stdout);
  shrink(p);
  std::printf("%s%s\n", show(p).c_str(), judge_apart(p).c_str());
  std::fflush(stdout);
  return false;
}

// Every `step`-th seed. Starts anew behind a program that ended the process.
bool play_all(std::uint64_t from, std::uint64_t end, std::uint64_t step) {
  bool well = true;
  verdict* const v = make_verdict();
  for (v->at = from; v->at < end;) {
    if (fork() == 0) {
      for (; v->at < end; v->at += step) {
        const std::string why = judge(generate(v->at));
        if (why.empty()) continue;
        std::snprintf(v->why, sizeof v->why, "%s", why.c_str());
        _exit(1);
      }
      _exit(0);
    }
    int status = 0;
    wait(&status);
    if (v->at >= end) break;
    well = report(v->at, ending(status).empty() ? v->why : ending(status));
    v->at += step;
  }
  return well;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t programs = 200, from = 1, jobs = 4;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view word = argv[i];
    const std::uint64_t value = i + 1 < argc ? std::strtoull(argv[i + 1], nullptr, 10) : 0;
    if (word == "--programs") programs = value;
    else if (word == "--from") from = value;
    else if (word == "--jobs") jobs = value;
    else if (word == "--courses") courses = static_cast<unsigned>(value);
    else if (word == "--seed") only = value;
    else return std::fprintf(stderr, "usage: random [--programs N] [--from SEED] [--jobs N] [--courses N] [--seed SEED]\n"), 2;
    if (!value) return std::fprintf(stderr, "random: %s needs a number, from 1\n", argv[i]), 2;
  }
  std::fflush(stdout);
  for (std::uint64_t job = 0; job < jobs; ++job)
    if (fork() == 0) _exit(play_all(from + job, from + programs, jobs) ? 0 : 1);
  int bad = 0, status;
  while (wait(&status) > 0) bad += status != 0;
  std::printf("%llu programs, on threads, with 1, 2 and 4 workers and under seeds: %s\n", static_cast<unsigned long long>(programs),
              bad ? "some differ" : "no difference");
  return bad ? 1 : 0;
}
