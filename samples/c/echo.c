/* An echo server in C: one fiber a connection, any number of them on one kernel thread.
 *
 *   build/samples/c-echo 7000      then, elsewhere: nc localhost 7000
 *
 * accept, read and write are libc's own. Ctrl-C ends the first fiber's read; bide_run then cancels the others. */
#define _POSIX_C_SOURCE 200809L /* of the headers of C99 */

#include <bide/bide.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void *serve(void *p) {
  const int peer = (int)(intptr_t)p;
  char data[4096];
  for (ssize_t n; (n = read(peer, data, sizeof data)) > 0;)
    if (write(peer, data, n) != n) break;
  close(peer);
  return NULL;
}

static void *accept_all(void *p) {
  for (;;) {
    const int peer = accept((int)(intptr_t)p, NULL, NULL);
    if (peer >= 0) {
      if (bide_spawn(NULL, NULL, serve, (void *)(intptr_t)peer)) close(peer);
    } else if (errno == ECANCELED) {
      return NULL;
    } else {
      perror("echo: accept");
      sleep(1);
    }
  }
}

static int until_interrupted(void *listener) {
  sigset_t interrupt;
  struct signalfd_siginfo which;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  sigprocmask(SIG_BLOCK, &interrupt, NULL);
  if (bide_spawn(NULL, NULL, accept_all, listener)) return 1;
  return read(signalfd(-1, &interrupt, 0), &which, sizeof which) < 0;
}

int main(int argc, char **argv) {
  const int port = argc == 2 ? atoi(argv[1]) : 0, listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  const struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int result = 1;
  if (port <= 0 || port > 65535) return puts("usage: c-echo PORT    echoes on 127.0.0.1:PORT until Ctrl-C"), 2;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (const struct sockaddr *)&here, sizeof here) || listen(listener, SOMAXCONN))
    return perror("echo: cannot listen on that port"), 1;
  signal(SIGPIPE, SIG_IGN);
  return bide_run(NULL, until_interrupted, (void *)(intptr_t)listener, &result) ? 1 : result;
}
