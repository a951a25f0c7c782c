#include "fetch.hpp"

#include <stdexcept>

namespace {

size_t append(char* data, size_t size, size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

int stop_asked(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(stop)->load();
}

}  // namespace

easy_handle make_easy_handle(long timeout_seconds, const std::atomic<bool>& stop) {
  easy_handle easy(curl_easy_init());
  if (!easy) throw std::runtime_error("curl_easy_init: out of memory");
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);  // libcurl-thread(3): a must in a program with threads
  curl_easy_setopt(easy.get(), CURLOPT_PROXY, "");     // the environment's proxies are not for the loopback
  curl_easy_setopt(easy.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT, timeout_seconds);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(easy.get(), CURLOPT_XFERINFOFUNCTION, stop_asked);
  curl_easy_setopt(easy.get(), CURLOPT_XFERINFODATA, &stop);
  curl_easy_setopt(easy.get(), CURLOPT_NOPROGRESS, 0L);
  return easy;
}

std::string fetch(CURL* easy, const std::string& url) {
  std::string body;
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
  if (const CURLcode failed = curl_easy_perform(easy)) throw std::runtime_error(curl_easy_strerror(failed));
  return body;
}

long connections_opened(CURL* easy) {
  long count = 0;
  curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &count);
  return count;
}
