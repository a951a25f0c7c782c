// An echo server in plain blocking code: one fiber a connection, any number of them on one kernel thread.
//
//   build/samples/echo 7000        then, elsewhere: nc localhost 7000
//
// accept, read and write are libc's own names. The first fiber waits for Ctrl-C in a blocking read; when that
// returns, bide::run cancels the others: the call that each is parked in ends with ECANCELED.
#include <bide/bide.hpp>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <string_view>

#include <arpa/inet.h>
#include <sys/signalfd.h>
#include <unistd.h>

void serve(int peer) {
  char data[4096];
  for (ssize_t n; (n = read(peer, data, sizeof data)) > 0;)
    if (write(peer, data, n) != n) break;
  close(peer);
}

void accept_all(int listener) {
  while (true) {
    const int peer = accept(listener, nullptr, nullptr);
    if (peer >= 0)
      bide::spawn(serve, peer);
    else if (errno == ECANCELED)
      return;
    else
      std::perror("echo: accept"), sleep(1);  // as when too many files are open: some will be closed
  }
}

int main(int argc, char** argv) {
  const std::string_view word = argc == 2 ? argv[1] : "";
  unsigned short port = 0;
  const auto [end, error] = std::from_chars(word.begin(), word.end(), port);
  if (word.empty() || end != word.end() || error != std::errc{})
    return std::puts("usage: echo PORT    echoes on 127.0.0.1:PORT until Ctrl-C"), word == "--help" ? 0 : 2;

  const int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  const sockaddr_in here{AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {}};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&here), sizeof here) || listen(listener, SOMAXCONN))
    return std::perror("echo: cannot listen on that port"), 1;

  sigset_t interrupt{};
  sigaddset(&interrupt, SIGINT);
  sigprocmask(SIG_BLOCK, &interrupt, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::printf("echo on 127.0.0.1:%d, Ctrl-C ends it\n", port);
  bide::run([&] {
    bide::spawn(accept_all, listener);
    signalfd_siginfo which;
    if (read(signalfd(-1, &interrupt, 0), &which, sizeof which) < 0) std::perror("echo: signalfd");
  });
}
