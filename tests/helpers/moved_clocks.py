"""Clocks of a process that a test moves while it runs: a library that is loaded before the system's own."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *moved;  /* seconds: of the clock on the wall, of the one that does not jump */
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int file = open(getenv("MOVED_CLOCKS"), O_RDONLY | O_CLOEXEC);
  void *map = mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
  if (map == MAP_FAILED) abort();
  moved = map;
}

int clock_gettime(clockid_t clock, struct timespec *found) {
  if (!real) begin();
  int result = real(clock, found);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) found->tv_sec += moved[0];
  if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) found->tv_sec += moved[1];
  return result;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  found->tv_sec = now.tv_sec;
  found->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *found) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (found) *found = now.tv_sec;
  return now.tv_sec;
}
"""


class MovedClocks:
    """env: of a process whose clocks are moved. Skips the test where that cannot be done."""

    def __init__(self, folder: Path) -> None:
        if sys.platform != "linux" or shutil.which("cc") is None:
            pytest.skip("moving a process' clocks needs Linux and a C compiler")
        library = folder / "moved_clocks.so"
        command = ("cc", "-x", "c", "-shared", "-fPIC", "-O1", "-o", str(library), "-", "-ldl")
        subprocess.run(command, input=_SOURCE, text=True, check=True, timeout=60)
        self._file = folder / "moved"
        self._file.write_bytes(bytes(16))
        self.env = {**os.environ, "LD_PRELOAD": str(library), "MOVED_CLOCKS": str(self._file)}

    def move(self, *, wall: int = 0, steady: int = 0) -> None:
        """From now on they are so many seconds ahead of the machine's."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("qq", wall, steady))
