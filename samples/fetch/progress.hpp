// What the user sees meanwhile, on stderr: on a terminal one line that is kept up to date, else a line now and then.
#pragma once

#include <chrono>
#include <string_view>

class progress {
 public:
  progress();
  /// Ends the line that was kept up to date.
  ~progress();
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

  /// Shows `line` if it is time for one.
  void show(std::string_view line) { put(line, false); }
  /// Shows `line` whatever the time is.
  void show_last(std::string_view line) { put(line, true); }

 private:
  void put(std::string_view line, bool now);

  bool terminal_;
  bool open_ = false;
  std::chrono::steady_clock::time_point next_;
};
