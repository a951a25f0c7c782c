#include "fetch.hpp"

#include <fmt/format.h>
#include <rapidjson/error/en.h>

#include <algorithm>
#include <cstring>

#include <unistd.h>

namespace {

constexpr std::size_t longest_answer = 8 << 20;  // more is no list and no page, and memory is finite
constexpr unsigned comments_per_page = 20;

// 429: the site wants to be asked later. It says nothing of the page.
struct asked_to_wait : fetch_error {
  using fetch_error::fetch_error;
};

size_t append(char* data, size_t size, size_t count, void* to) {
  auto& answer = *static_cast<std::string*>(to);
  if (answer.size() + size * count > longest_answer) return 0;  // ends the transfer
  answer.append(data, size * count);
  return size * count;
}

int stop_asked(void* how, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const fetch_settings*>(how)->stop.load(std::memory_order_relaxed);
}

[[noreturn]] void refuse(const char* what) { throw fetch_error(what); }

const rapidjson::Value& member(const rapidjson::Value& of, const char* name) {
  const auto found = of.FindMember(name);
  if (found == of.MemberEnd()) throw fetch_error(fmt::format("the answer has no \"{}\"", name));
  return found->value;
}

unsigned number(const rapidjson::Value& of, const char* name) {
  const rapidjson::Value& value = member(of, name);
  if (!value.IsUint()) throw fetch_error(fmt::format("\"{}\" is no number", name));
  return value.GetUint();
}

std::string_view text(const rapidjson::Value& of, const char* name) {
  const rapidjson::Value& value = member(of, name);
  if (!value.IsString()) throw fetch_error(fmt::format("\"{}\" is no text", name));
  return {value.GetString(), value.GetStringLength()};
}

}  // namespace

source::source(fetch_settings& how) : how_(how), easy_(curl_easy_init()) {
  if (!easy_) throw std::runtime_error("curl_easy_init: out of memory");
  curl_easy_setopt(easy_.get(), CURLOPT_NOSIGNAL, 1L);  // libcurl-thread(3): a must in a program with threads
  curl_easy_setopt(easy_.get(), CURLOPT_PROXY, "");     // the environment's proxies are not for the loopback
  curl_easy_setopt(easy_.get(), CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(easy_.get(), CURLOPT_TIMEOUT_MS, how.timeout_ms);
  curl_easy_setopt(easy_.get(), CURLOPT_ERRORBUFFER, why_.data());
  curl_easy_setopt(easy_.get(), CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(easy_.get(), CURLOPT_WRITEDATA, &answer_);
  curl_easy_setopt(easy_.get(), CURLOPT_XFERINFOFUNCTION, stop_asked);
  curl_easy_setopt(easy_.get(), CURLOPT_XFERINFODATA, &how);
  curl_easy_setopt(easy_.get(), CURLOPT_NOPROGRESS, 0L);
}

void source::get(const std::string& url) {
  answer_.clear();
  why_[0] = 0;
  curl_easy_setopt(easy_.get(), CURLOPT_URL, url.c_str());
  if (const CURLcode failed = curl_easy_perform(easy_.get())) throw fetch_error(why_[0] ? why_.data() : curl_easy_strerror(failed));
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status == 429) throw asked_to_wait("the site still asks to wait (429)");
  if (status != 200) throw fetch_error(fmt::format("the site answers {}", status));
}

void source::parse(rapidjson::Document& into, char* text) {
  into.ParseInsitu(text);
  if (into.HasParseError())
    throw fetch_error(fmt::format("not JSON: {} At byte {}.", rapidjson::GetParseError_En(into.GetParseError()),
                                  into.GetErrorOffset()));
}

// Attempts, each a while after the other: after 0.1 s, 0.2 s, ... A site that asks to wait is asked for a minute.
template <class Read>
auto source::with_retries(const std::string& path, Read read) {
  constexpr unsigned longest_wait_ms = 1000, most_waits = 60;
  const std::string url = how_.site + path;
  std::string why;
  for (unsigned attempt = 1, waits = 0;;) {
    unsigned wait_ms = std::min(100u << std::min(attempt - 1, 5u), longest_wait_ms);
    try {
      get(url);
      return read();
    } catch (const asked_to_wait& error) {
      why = error.what();
      wait_ms = std::min(100u << std::min(waits, 5u), longest_wait_ms);
      if (++waits == most_waits) attempt = how_.attempts;
    } catch (const fetch_error& error) {
      why = error.what();
      ++attempt;
    }
    if (attempt > how_.attempts || how_.stop) throw fetch_error(url + ": " + why);
    ++how_.retries;
    usleep(wait_ms * 1000);
  }
}

std::vector<page_ref> fetch_list(source& from) {
  return from.with_retries("/videos", [&] {
    rapidjson::Document list;
    from.parse(list, from.answer_.data());
    if (!list.IsArray()) refuse("the answer is no list of videos");
    std::vector<page_ref> pages;
    for (const auto& video : list.GetArray()) {
      if (!video.IsObject()) refuse("the answer is no list of videos");
      const unsigned comments = number(video, "comments");
      for (unsigned page = 1, left = comments; left; ++page) {
        const unsigned here = std::min(left, comments_per_page);
        pages.push_back({number(video, "video"), page, here});
        left -= here;
      }
    }
    return pages;
  });
}

page fetch_page(source& from, const page_ref& which) {
  return from.with_retries(fmt::format("/videos/{}/comments?page={}", which.video, which.page), [&] {
    page made{which, std::make_unique_for_overwrite<char[]>(from.answer_.size() + 1), {}};
    std::memcpy(made.body.get(), from.answer_.c_str(), from.answer_.size() + 1);
    from.values_.Clear();
    rapidjson::Document answer(&from.values_);
    from.parse(answer, made.body.get());  // in place: the texts stay where they are
    if (!answer.IsObject()) refuse("the answer is no page");
    const auto& said = member(answer, "comments");
    if (number(answer, "video") != which.video || number(answer, "page") != which.page || !said.IsArray() ||
        said.Size() != which.comments)
      refuse("the answer is another page than was asked for");
    made.comments.reserve(which.comments);
    for (const auto& each : said.GetArray()) {
      if (!each.IsObject() || !member(each, "id").IsUint64()) refuse("a comment has no id");
      made.comments.push_back({member(each, "id").GetUint64(), number(each, "likes"), text(each, "author"), text(each, "text")});
    }
    return made;
  });
}
