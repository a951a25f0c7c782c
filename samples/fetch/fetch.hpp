// The program's one way to fetch: an ordinary blocking function on an ordinary libcurl easy handle.
//
// Nothing here knows whether a fiber or a kernel thread calls it.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <memory>
#include <string>

struct easy_cleanup {
  void operator()(CURL* easy) const noexcept { curl_easy_cleanup(easy); }
};
using easy_handle = std::unique_ptr<CURL, easy_cleanup>;

/// Makes the handle of one user: its connection and its looked-up names live as long as it does.
///
/// `stop` ends a transfer within about a second of becoming true.
/// Errors:   std::runtime_error.
easy_handle make_easy_handle(long timeout_seconds, const std::atomic<bool>& stop);

/// Fetches `url` and returns the body.
///
/// Errors:   std::runtime_error that says what libcurl says, also for an HTTP status of 400 and above.
std::string fetch(CURL* easy, const std::string& url);

/// Returns how many connections the last fetch had to open: 0 when it went over one that was kept.
long connections_opened(CURL* easy);
