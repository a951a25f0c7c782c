// What we parse of what others wrote, given anything: numbers and lists of the environment, LD_PRELOAD, the launcher's
// arguments, ELF files and scripts. The first byte says which, the rest is the input.
//
// Built with libFuzzer by tests/fuzz/run, and by the build with replay.cpp, which gives it the corpus.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/number.hpp"
#include "lib/launcher/check.hpp"
#include "lib/launcher/failure.hpp"
#include "lib/launcher/preload.hpp"
#include "lib/launcher/run.hpp"
#include "lib/sys/features.hpp"

int launcher_main(int argc, char** argv);  // lib/launcher/main.cpp's

namespace {

[[noreturn]] void wrong(const char* what) {
  std::fprintf(stderr, "parsers: %s\n", what);
  std::abort();
}
void expect(bool holds, const char* what) {
  if (!holds) wrong(what);
}

struct would_run {};
char** first_argument;
char** last_argument;

void numbers(const std::string& text) {
  std::int64_t found = -7;
  const bool good = bide::base::read_number(text, 1, 64, found);
  expect(good ? found >= 1 && found <= 64 : found == -7, "a number is one between its bounds, or leaves what was there");
  if (good) expect(std::strtol(text.c_str(), nullptr, 10) == found, "a number is what strtol makes of it");
  setenv("BIDE_FUZZED", text.c_str(), 1);
  const std::int64_t set = bide::base::number_in_environment("BIDE_FUZZED", 10, 0, 10'000);
  expect(set >= 0 && set <= 10'000, "a setting is between its bounds");
}

void lists(const std::string& text) {
  const bool there = bide::sys::is_listed(text, "io_uring");
  if (there) expect(text.find("io_uring") != text.npos, "what is listed stands there");
  expect(bide::sys::is_listed(text + ",io_uring", "io_uring"), "what is appended is listed");
}

void preloads(const std::string& text) {
  setenv("LD_PRELOAD", text.c_str(), 1);
  const std::string ours = "/lib/libbide-preload.so.0";
  try {
    const std::string all = bide::launcher::preload_list(ours, {});
    expect(all.starts_with(ours), "ours is first");
    expect(all.find_first_of("\n\t") == all.npos, "nothing that would part the list otherwise is in it");
  } catch (const bide::launcher::failure&) {
  }
  unsetenv("LD_PRELOAD");
}

// Words parted by zero bytes.
void arguments(const std::string& text) {
  std::vector<std::string> words{"bide"};
  for (std::size_t at = 0; at < text.size() && words.size() < 30;) {
    const std::size_t end = std::min(text.find('\0', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  first_argument = pointers.data();
  last_argument = pointers.data() + words.size();
  try {
    const int code = launcher_main(static_cast<int>(words.size()), pointers.data());
    expect(code == 0 || (code >= 125 && code <= 127), "the launcher ends with a status of its own");
  } catch (const would_run&) {
  }
}

// As an executable file.
void programs(const std::string& text) {
  const int file = memfd_create("fuzzed", 0);
  if (file < 0 || write(file, text.data(), text.size()) != static_cast<ssize_t>(text.size())) wrong("no memory for a file");
  fchmod(file, 0700);
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  try {
    const bide::launcher::program p = bide::launcher::find_program(path);
    expect(!p.binary.empty() && p.scripts.size() <= 5, "a program has a binary, and few scripts before it");
    expect(bide::launcher::printable(p.binary).size() == p.binary.size(), "what is told is as long as it is");
    bide::launcher::obstacle(p, bide::launcher::kernel_facts{});
  } catch (const bide::launcher::failure&) {
  }
  close(file);
}

}  // namespace

namespace bide::launcher {

// In place of becoming the program.
void run(const run_options& options, char** command) {
  expect(command > first_argument && command < last_argument && *command, "a command is one of the arguments");
  std::int64_t number = 0;
  if (!options.workers.empty()) expect(base::read_number(options.workers, 1, 64, number), "--workers is what the library takes");
  if (!options.seed.empty()) expect(base::read_number(options.seed, 1, INT64_MAX, number), "--seed is what the library takes");
  if (!options.preempt.empty() && options.preempt != "off")
    expect(base::read_number(options.preempt, 0, 10'000, number), "--preempt is what the library takes");
  throw would_run{};
}

int check(const std::string&) { return 0; }

}  // namespace bide::launcher

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  std::cout.rdbuf(nullptr);
  std::cerr.rdbuf(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (!size) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0: numbers(text); break;
    case 1: lists(text); break;
    case 2: preloads(text); break;
    case 3: arguments(text); break;
    case 4: programs(text); break;
  }
  return 0;
}
