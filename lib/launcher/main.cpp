// bide: starts an unmodified program with its threads as fibers, or says whether it could.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>
#include <string_view>

#include "lib/launcher/check.hpp"
#include "lib/launcher/failure.hpp"
#include "lib/launcher/run.hpp"
#include "lib/sys/features.hpp"

namespace bide::launcher {
namespace {

constexpr int most_workers = 64, longest_slice_ms = 10'000;  // as lib/entry/preload.cpp has them

std::string refuse_features(const std::string& given) {
  const std::string name(sys::unknown_feature(given));
  return name.empty() ? name : name + " is none of " + std::string(sys::feature_names);
}

std::string refuse_slice(std::string given) {
  return given == "off" ? std::string{} : CLI::Range(0, longest_slice_ms)(given);
}

struct formatter : CLI::Formatter {
  std::string make_usage(const CLI::App* of, std::string) const override {
    if (!of->get_parent()) return "usage: bide run [options] [--] program [argument...]\n       bide check program\n";
    return of->get_name() == "run" ? "usage: bide run [options] [--] program [argument...]\n" : "usage: bide check program\n";
  }
};

void add_run(CLI::App& run, run_options& options) {
  run.add_option("--workers", options.workers, "kernel threads that run fibers; standard: 1, or BIDE_WORKERS")
      ->check(CLI::Range(1, most_workers))
      ->type_name("N");
  run.add_option("--preempt", options.preempt,
                 "milliseconds a thread computes before others get their turn, or off; standard: 10, or BIDE_PREEMPT")
      ->check(refuse_slice)
      ->type_name("MS|off");
  run.add_option("--seed", options.seed, "of the order of threads, with one worker, no preemption and time of its own, or BIDE_SEED")
      ->check(CLI::Range(std::int64_t{1}, std::numeric_limits<std::int64_t>::max()))
      ->type_name("N");
  run.add_option("--patch", options.patch,
                 "whether libc's hot system calls are patched into jumps; standard: on, or BIDE_PATCH")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off");
  run.add_option("--disable", options.disable, "kernel features to do without, or BIDE_DISABLE; see bide check")
      ->check(refuse_features)
      ->type_name("NAME,...");
  run.add_option("--with", options.plugins, "a library to preload as well, which may wrap calls: bide/calls.h")
      ->check(CLI::ExistingFile)
      ->type_name("LIBRARY")
      ->allow_extra_args(false);
  run.prefix_command();
  run.footer(
      "The program becomes this process. Where its threads can't be fibers it runs on native threads, and one line on\n"
      "stderr says why.\n\n"
      "Exit status: the program's, or 125 bide itself failed, 126 the program can't be executed, 127 it isn't found.");
}

// Where bide's own words end at the latest: CLI11 would read on behind a subcommand's "--".
int own_words(int argc, char** argv) {
  const bool runs = argc > 1 && std::string_view(argv[1]) == "run";
  return runs ? static_cast<int>(std::find(argv, argv + argc, std::string_view("--")) - argv) : argc;
}

// The program and its arguments, as they were given. CLI11 has left over what begins with a word that is no option, or
// an option it doesn't know.
char** command_of(const CLI::App& run, int own, char** argv) {
  char** command = argv + own - run.remaining_size();
  if (run.remaining_size() == 0 && *command) ++command;  // "--"
  else if (*command && (*command)[0] == '-')
    throw failure(status::own_error, std::string("unknown option ") + *command + "; see bide run --help");
  if (!*command) throw failure(status::own_error, "run which program? see bide run --help");
  return command;
}

int main(int argc, char** argv) {
  CLI::App app{"Runs an unmodified program with its threads as fibers."};
  app.formatter(std::make_shared<formatter>());
  app.set_version_flag("--version", "bide " BIDE_VERSION);
  app.require_subcommand(1);
  app.footer("Environment: BIDE_WORKERS, BIDE_PREEMPT, BIDE_SEED, BIDE_PATCH and BIDE_DISABLE, as the options of bide run.");
  app.failure_message([](const CLI::App* of, const CLI::Error& error) {
    if (!of->get_subcommands().empty()) of = of->get_subcommands()[0];  // it is told of the whole
    const std::string line = error.what();
    return "bide: " + line.substr(0, line.find('\n')) + "; see bide " + (of->get_parent() ? of->get_name() + ' ' : "") +
           "--help\n";
  });

  run_options options;
  CLI::App& run_command = *app.add_subcommand("run", "runs a program");
  add_run(run_command, options);
  std::string name;
  CLI::App& check_command = *app.add_subcommand("check", "says what would be served of a program, and why not the rest");
  check_command.add_option("program", name, "looked for in PATH, as a shell does")->required();
  check_command.footer("Exit status: 0 its threads would be fibers, 1 they would not, 125 to 127 as bide run.");
  const int own = own_words(argc, argv);
  try {
    app.parse(own, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(status::own_error);
  }
  if (check_command.parsed()) return check(name);
  launcher::run(options, command_of(run_command, own, argv));
}

}  // namespace
}  // namespace bide::launcher

int main(int argc, char** argv) try {
  return bide::launcher::main(argc, argv);
} catch (const bide::launcher::failure& error) {
  fprintf(stderr, "bide: %s\n", error.what());
  return static_cast<int>(error.code);
} catch (const std::exception& error) {
  fprintf(stderr, "bide: %s\n", error.what());
  return static_cast<int>(bide::launcher::status::own_error);
}
