#include "support/watchdog.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include "lib/diag/fibers.hpp"

namespace unit {
namespace {

const char* running = "";  // the test case

void on_alarm(int) {
  bide::base::text t;
  (t << "the test hangs: " << running << "; its fibers:\n").to_stderr();
  bide::diag::list_fibers(2);
  signal(SIGABRT, SIG_DFL);
  _exit(124);
}

// Gives each test case its time.
struct timekeeper : doctest::IReporter {
  explicit timekeeper(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_start(const doctest::TestCaseData& t) override {
    running = t.m_name;
    watch_time(120);
  }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override { watch_time(0); }
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("timekeeper", 1, timekeeper);

}  // namespace

void watch_time(unsigned seconds) noexcept {
  struct sigaction action {};
  action.sa_handler = on_alarm;
  sigaction(SIGALRM, &action, nullptr);
  alarm(seconds);
}

}  // namespace unit
