/* libnss_slow.so.2, a name service whose look-ups take as long as the test says, and find nothing. */
#include "nss_slow.h"

#include <nss.h>

void (*nss_slow_asked)(void);

static enum nss_status find(void) {
  nss_slow_asked();
  return NSS_STATUS_NOTFOUND;
}

/* Whatever they are asked for. */
#define LOOK_UP(name) \
  enum nss_status _nss_slow_##name(); \
  enum nss_status _nss_slow_##name() { return find(); }
LOOK_UP(getpwnam_r)
LOOK_UP(getpwuid_r)
LOOK_UP(getpwent_r)
LOOK_UP(getgrnam_r)
LOOK_UP(getgrgid_r)
LOOK_UP(getgrent_r)
LOOK_UP(initgroups_dyn)
LOOK_UP(getspnam_r)
LOOK_UP(getspent_r)
LOOK_UP(getservbyname_r)
LOOK_UP(getservbyport_r)
LOOK_UP(getservent_r)
LOOK_UP(getprotobyname_r)
LOOK_UP(getprotobynumber_r)
LOOK_UP(getprotoent_r)
LOOK_UP(getnetbyname_r)
LOOK_UP(getnetbyaddr_r)
LOOK_UP(getnetent_r)
LOOK_UP(getaliasbyname_r)
LOOK_UP(setnetgrent)
LOOK_UP(gethostbyname_r)
LOOK_UP(gethostbyname2_r)
LOOK_UP(gethostbyname4_r)
LOOK_UP(gethostbyaddr_r)
LOOK_UP(gethostent_r)
