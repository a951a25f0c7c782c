#include "lib/launcher/program.hpp"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>

#include "lib/launcher/failure.hpp"

extern "C" char** environ;

namespace bide::launcher {
namespace {

// 0, or the errno with which execve(2) would fail.
int executable(const std::string& path) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0) return errno;
  if (S_ISDIR(about.st_mode)) return EISDIR;
  return faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

std::string path_of(const std::string& name) {
  const auto refuse = [&](int error, const std::string& what) {
    const bool missing = error == ENOENT || error == ENOTDIR;
    throw failure(missing ? status::not_found : status::cannot_execute, what + ": " + strerror(error));
  };
  if (name.find('/') != name.npos) {
    if (const int error = executable(name)) refuse(error, name);
    return name;
  }
  const char* given = getenv("PATH");
  std::istringstream folders((given ? given : "/bin:/usr/bin") + std::string(":"));  // as execvp(3) without PATH
  std::string refused;
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string path = (folder.empty() ? "." : folder) + '/' + name;
    const int error = executable(path);
    if (error == 0) return path;
    if (error == EACCES && refused.empty()) refused = path;
  }
  if (!refused.empty()) refuse(EACCES, refused);
  throw failure(status::not_found, name.empty() ? "the program's name is empty" : name + ": there is none in PATH");
}

// What a script's first line names, with its arguments, or nothing.
std::vector<std::string> interpreter_of(const std::string& path) {
  char first[256];  // as much as the kernel reads: BINPRM_BUF_SIZE
  std::ifstream file(path, std::ios::binary);
  file.read(first, sizeof first);
  std::string_view line(first, static_cast<std::size_t>(file.gcount()));
  std::vector<std::string> words;
  if (!line.starts_with("#!")) return words;
  std::istringstream rest(std::string(line.substr(2, line.find('\n') - 2)));
  for (std::string word; rest >> word;) words.push_back(word);
  return words;
}

// `#!/usr/bin/env python3` and `#!/usr/bin/env -S NAME=value python3 -u`: what env(1) would run.
std::string behind_env(const std::vector<std::string>& words) {
  for (std::size_t i = 1; i < words.size(); ++i)
    if (words[i][0] != '-' && words[i].find('=') == std::string::npos) return words[i];
  return words[0];
}

bool is_text(const std::string& path) {
  char first[128];
  std::ifstream file(path, std::ios::binary);
  file.read(first, sizeof first);
  return !memchr(first, 0, static_cast<std::size_t>(file.gcount()));
}

}  // namespace

program find_program(const std::string& name) {
  constexpr std::size_t deepest = 5;  // the kernel's own bound of scripts that name scripts
  program found;
  found.path = found.binary = path_of(name);
  while (found.scripts.size() < deepest && !(found.elf = read_elf(found.binary))) {
    const auto words = interpreter_of(found.binary);
    found.scripts.push_back(found.binary);
    if (!words.empty()) {
      found.binary = path_of(words[0].ends_with("/env") ? behind_env(words) : words[0]);
    } else if (faccessat(AT_FDCWD, found.binary.c_str(), R_OK, AT_EACCESS) != 0) {
      found.scripts.pop_back();
      break;  // the kernel may still run what it doesn't let us read
    } else if (is_text(found.binary)) {
      found.binary = "/bin/sh";  // as execvp(3) and every shell do
    } else {
      throw failure(status::cannot_execute, found.binary + ": it is no program: neither ELF nor a script");
    }
  }
  if (found.elf && found.elf->x86_64 && !found.elf->loader.empty() && access(found.elf->loader.c_str(), F_OK) != 0 && errno == ENOENT)
    throw failure(status::not_found, found.binary + ": its loader " + printable(found.elf->loader) + " is not there");
  return found;
}

std::string privilege_of(const std::string& path) {
  struct stat about {};
  struct statvfs system {};
  if (stat(path.c_str(), &about) != 0 || statvfs(path.c_str(), &system) != 0) return {};
  if ((system.f_flag & ST_NOSUID) || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return {};
  if ((about.st_mode & S_ISUID) && about.st_uid != getuid()) return "set-user-ID";
  constexpr mode_t set_group = S_ISGID | S_IXGRP;
  if ((about.st_mode & set_group) == set_group && about.st_gid != getgid()) return "set-group-ID";
  if (getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) return "file capabilities";
  return {};
}

library_list libraries_of(const program& p) {
  library_list list;
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) throw failure(status::own_error, std::string("pipe: ") + strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDERR_FILENO);
  const char* arguments[] = {p.elf->loader.c_str(), "--list", p.binary.c_str(), nullptr};
  pid_t child = -1;
  const int error = posix_spawn(&child, arguments[0], &actions, nullptr, const_cast<char**>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  std::string said;
  char piece[4096];
  for (ssize_t n; (n = read(out[0], piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR);)
    if (n > 0) said.append(piece, static_cast<std::size_t>(n));
  close(out[0]);
  int ended = 0;
  if (error == 0) waitpid(child, &ended, 0);
  std::istringstream lines(said);
  for (std::string line; std::getline(lines, line);) {
    // "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)"
    const auto arrow = line.find("=> "), end = line.rfind(" (0x");
    if (arrow != line.npos && end != line.npos && arrow + 3 < end)
      list.paths.push_back(line.substr(arrow + 3, end - arrow - 3));
    else if (ended != 0 && list.complaint.empty())
      list.complaint = printable(line);
  }
  return list;
}

}  // namespace bide::launcher
