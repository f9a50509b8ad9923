/* Preloaded: a sync of a file takes longer, by the milliseconds that a file tells. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void wait_for_disk(void)
{
    const char *path = getenv("SYNC_DELAY_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    unsigned milliseconds = 0;

    if (!file)
        return;
    if (fscanf(file, "%u", &milliseconds) == 1)
        usleep(milliseconds * 1000);
    fclose(file);
}

int fsync(int file)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

    wait_for_disk();
    return real(file);
}

int fdatasync(int file)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    wait_for_disk();
    return real(file);
}

int msync(void *start, size_t length, int flags)
{
    int (*real)(void *, size_t, int) = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync");

    wait_for_disk();
    return real(start, length, flags);
}
