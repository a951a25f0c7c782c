// Says how many kernel threads 50 waiting pthreads make, with the arguments it was given: threads [words...]
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { many = 50 };

static pthread_barrier_t all_there, all_counted;

static void *wait_for_all(void *unused) {
  pthread_barrier_wait(&all_there);
  pthread_barrier_wait(&all_counted);
  return unused;
}

static int kernel_threads(void) {
  FILE *status = fopen("/proc/self/status", "r");
  char line[256];
  int count = -1;
  while (status && fgets(line, sizeof line, status)) sscanf(line, "Threads: %d", &count);
  if (status) fclose(status);
  return count;
}

int main(int argc, char **argv) {
  pthread_t threads[many];
  pthread_barrier_init(&all_there, NULL, many + 1);
  pthread_barrier_init(&all_counted, NULL, many + 1);
  for (int i = 0; i < many; ++i)
    if (pthread_create(&threads[i], NULL, wait_for_all, NULL) != 0) return 1;
  pthread_barrier_wait(&all_there);
  printf("%s", kernel_threads() > many ? "native" : "fibers");
  for (int i = 1; i < argc; ++i) printf(" <%s>", argv[i]);
  printf("\n");
  pthread_barrier_wait(&all_counted);
  for (int i = 0; i < many; ++i) pthread_join(threads[i], NULL);
  return 7;
}
