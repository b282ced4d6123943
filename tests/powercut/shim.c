/*
 * A disk that forgets: preloaded into a process, it keeps beside the process's files a second copy that holds what a
 * power cut would leave.
 *
 * Who acts. The process writes as ever; the calls that change files under POWERCUT_ROOT are seen on their way
 * through the C library. The copy, in POWERCUT_KEEP, changes only where the process asked for it and was told that it
 * is done: a file's bytes and length at its own fsync or fdatasync, a folder's names at the fsync of the folder. A
 * cut is then: kill the process, and put the copy in the place of the files (tests/src/power.rs).
 *
 * What is promised. Nothing is in the copy that the process could not count on: a write that was not synced is not
 * there, nor a file whose folder was not synced (POSIX promises no more, though most file systems do). A disk may
 * also write sooner than it is asked: with POWERCUT_EAGER=N, N of a hundred writes go into the copy at once, up to an
 * arbitrary sector. With POWERCUT_DEAF=NAME an fdatasync brings nothing into the copy if it is of a file of that name,
 * through a descriptor that can only write. So the gateway syncs sled's file for each commit, and so sled, which reads
 * through the same descriptor, never does: what is acknowledged too soon is what a test must then find.
 *
 * What is deliberately not. Calls that do not go through the C library, mapped files, copies of ranges inside the
 * kernel and hard links are not seen. Two processes under one root are not supported: children are started without it.
 *
 * The copy: f<id> is a file's bytes, d<id> a folder's names as lines "f <id> <name>" or "d <id> <name>"; d0 is the
 * root. i is a log of which inode has which id, so that a process that was killed without a cut finds them again.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define SECTOR 512
#define BUCKETS 4096

struct range { off_t from, to; };

/* A file or folder under the root. */
struct node {
    struct node *next;
    ino_t ino;
    dev_t dev;
    unsigned long id;
    struct range *dirty;
    size_t count, room;
};

static char root[4096], keep[4096];
static size_t root_length;
static int active, eager, inodes = -1;
static const char *deaf;
static unsigned long next_id = 1;
static unsigned long long dice;
static struct node *nodes[BUCKETS];
/* Guards the nodes; `syncing` is held over a whole sync, so that none returns before what another has taken is kept. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, syncing = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what) {
    dprintf(2, "powercut: %s: %s\n", what, strerror(errno));
    abort();
}

static void put(int fd, const char *bytes, size_t count, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) = REAL(pwrite64);
    while (count > 0) {
        ssize_t done = real(fd, bytes, count, at);
        if (done < 0) die("the copy can't be written");
        bytes += done, count -= (size_t)done, at += done;
    }
}

static int open_kept(const char *kind, unsigned long id, int flags) {
    char path[8192];
    snprintf(path, sizeof path, "%s/%s%lu", keep, kind, id);
    int fd = REAL(open64)(path, flags | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) die(path);
    return fd;
}

static struct node **slot(const struct stat *st) {
    struct node **at = &nodes[(st->st_ino ^ st->st_dev) % BUCKETS];
    while (*at && ((*at)->ino != st->st_ino || (*at)->dev != st->st_dev)) at = &(*at)->next;
    return at;
}

static void note(char sign, dev_t dev, ino_t ino, unsigned long id) {
    char line[128];
    int length = snprintf(line, sizeof line, "%c %lu %lu %lu\n", sign, (unsigned long)dev, (unsigned long)ino, id);
    if (inodes >= 0 && REAL(write)(inodes, line, (size_t)length) != length) die("the log of inodes");
}

static struct node *add(dev_t dev, ino_t ino, unsigned long id) {
    struct node **at = &nodes[(ino ^ dev) % BUCKETS], *node = calloc(1, sizeof *node);
    if (!node) die("memory");
    *node = (struct node){.next = *at, .ino = ino, .dev = dev, .id = id};
    if (id >= next_id) next_id = id + 1;
    return *at = node;
}

static struct node *known_or_new(const struct stat *st) {
    struct node *node = *slot(st);
    if (node) return node;
    note('+', st->st_dev, st->st_ino, next_id);
    return add(st->st_dev, st->st_ino, next_id);
}

static void forget(const struct stat *st) {
    struct node **at = slot(st), *node = *at;
    if (!node) return;
    note('-', node->dev, node->ino, node->id);
    *at = node->next;
    free(node->dirty);
    free(node);
}

static void dirty(struct node *node, off_t from, off_t to) {
    if (from >= to) return;
    struct range *last = node->count ? &node->dirty[node->count - 1] : NULL;
    if (last && from <= last->to && to >= last->from) {
        if (from < last->from) last->from = from;
        if (to > last->to) last->to = to;
        return;
    }
    if (node->count == node->room) {
        node->room = node->room ? node->room * 2 : 16;
        node->dirty = realloc(node->dirty, node->room * sizeof *node->dirty);
        if (!node->dirty) die("memory");
    }
    node->dirty[node->count++] = (struct range){from, to};
}

/* Whether an open file lies under the root; its status is given with it. */
static int is_under_root(int fd, struct stat *st) {
    if (!active || fstat(fd, st) != 0 || !(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))) return 0;
    char link[64], path[8192];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

/* Takes a file's bytes into the copy. */
static void copy_range(int from, int to, struct range range, off_t size) {
    static char buffer[1 << 18];
    if (range.to > size) range.to = size;
    while (range.from < range.to) {
        size_t want = (size_t)(range.to - range.from);
        ssize_t got = pread64(from, buffer, want < sizeof buffer ? want : sizeof buffer, range.from);
        if (got < 0) die("a file can't be read again");
        if (got == 0) return;
        put(to, buffer, (size_t)got, range.from);
        range.from += got;
    }
}

/* A descriptor that can be read, whatever the process's own one is for. */
static int reading(int fd) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = REAL(open64)(path, O_RDONLY | O_CLOEXEC);
    if (own < 0) die("a file can't be opened again");
    return own;
}

static void keep_file(int fd) {
    struct stat st;
    pthread_mutex_lock(&lock);
    if (fstat(fd, &st) != 0) die("fstat");
    struct node *node = known_or_new(&st);
    struct range *ranges = node->dirty;
    size_t count = node->count;
    unsigned long id = node->id;
    node->dirty = NULL;
    node->count = node->room = 0;
    pthread_mutex_unlock(&lock);
    int from = reading(fd), to = open_kept("f", id, O_WRONLY);
    if (REAL(ftruncate64)(to, st.st_size) != 0) die("the copy can't be cut to size");
    for (size_t i = 0; i < count; i++) copy_range(from, to, ranges[i], st.st_size);
    free(ranges);
    close(from);
    close(to);
}

static void keep_folder(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) die("fstat");
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = own < 0 ? NULL : fdopendir(own);
    if (!folder) die("a folder can't be listed");
    pthread_mutex_lock(&lock);
    unsigned long id = known_or_new(&st)->id;
    char temporary[8192], final[8192];
    snprintf(temporary, sizeof temporary, "%s/t%lu", keep, id);
    snprintf(final, sizeof final, "%s/d%lu", keep, id);
    int names = REAL(open64)(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (names < 0) die(temporary);
    off_t at = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (fstatat(own, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) continue;
        char line[512];
        int length = snprintf(line, sizeof line, "%c %lu %s\n", S_ISDIR(st.st_mode) ? 'd' : 'f',
                              known_or_new(&st)->id, entry->d_name);
        put(names, line, (size_t)length, at);
        at += length;
    }
    close(names);
    if (REAL(rename)(temporary, final) != 0) die(final);
    pthread_mutex_unlock(&lock);
    closedir(folder);
}

/* What is there when the process starts is there for good; what an earlier process left unsynced, is not. */
static void keep_all(int folder_fd, int fresh) {
    int own = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = own < 0 ? NULL : fdopendir(own);
    if (!folder) die("the root can't be listed");
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct stat st;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (fstatat(own, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) continue;
        int fd = openat(own, entry->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0) die(entry->d_name);
        if (S_ISDIR(st.st_mode)) {
            keep_all(fd, fresh);
        } else {
            dirty(known_or_new(&st), 0, st.st_size);
            if (fresh) keep_file(fd);
        }
        close(fd);
    }
    closedir(folder);
    if (fresh) keep_folder(folder_fd);
}

__attribute__((constructor)) static void begin(void) {
    const char *wanted = getenv("POWERCUT_ROOT"), *copy = getenv("POWERCUT_KEEP");
    unsetenv("LD_PRELOAD");
    if (!wanted || !copy || !realpath(wanted, root)) return;
    snprintf(keep, sizeof keep, "%s", copy);
    root_length = strlen(root);
    deaf = getenv("POWERCUT_DEAF");
    eager = getenv("POWERCUT_EAGER") ? atoi(getenv("POWERCUT_EAGER")) : 0;
    dice = getenv("POWERCUT_SEED") ? strtoull(getenv("POWERCUT_SEED"), NULL, 10) : 1;
    char path[8192];
    snprintf(path, sizeof path, "%s/i", keep);
    int fresh = access(path, F_OK) != 0;
    FILE *log = fresh ? NULL : fopen(path, "r");
    char sign;
    unsigned long dev, ino, id;
    while (log && fscanf(log, "%c %lu %lu %lu\n", &sign, &dev, &ino, &id) == 4) {
        struct stat st = {.st_dev = dev, .st_ino = ino};
        if (sign == '+') add(dev, ino, id);
        else forget(&st);
    }
    if (log) fclose(log);
    inodes = REAL(open64)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (inodes < 0 || fd < 0 || fstat(fd, &st) != 0) die("the root can't be opened");
    if (fresh) {
        note('+', st.st_dev, st.st_ino, 0);
        add(st.st_dev, st.st_ino, 0);
    }
    keep_all(fd, fresh);
    close(fd);
    active = 1;
}

static unsigned roll(unsigned below) {
    dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(dice >> 33) % below;
}

static void wrote(int fd, off_t from, ssize_t count) {
    struct stat st;
    if (count <= 0 || !is_under_root(fd, &st) || !S_ISREG(st.st_mode)) return;
    pthread_mutex_lock(&syncing);
    pthread_mutex_lock(&lock);
    struct node *node = known_or_new(&st);
    dirty(node, from, from + count);
    unsigned long id = node->id;
    int soon = eager > 0 && roll(100) < (unsigned)eager;
    /* The whole of it, or up to a sector's end. */
    off_t part = count;
    if (soon && roll(2)) {
        part = (off_t)roll((unsigned)count);
        part -= (from + part) % SECTOR;
    }
    pthread_mutex_unlock(&lock);
    if (soon && part > 0) {
        int own = reading(fd), to = open_kept("f", id, O_WRONLY);
        copy_range(own, to, (struct range){from, from + part}, st.st_size);
        close(own);
        close(to);
    }
    pthread_mutex_unlock(&syncing);
}

static int synced(int fd, int done) {
    struct stat st;
    int saved = errno;
    if (done == 0 && is_under_root(fd, &st)) {
        pthread_mutex_lock(&syncing);
        if (S_ISDIR(st.st_mode)) keep_folder(fd);
        else keep_file(fd);
        pthread_mutex_unlock(&syncing);
    }
    errno = saved;
    return done;
}

int fsync(int fd) { return synced(fd, REAL(fsync)(fd)); }

/* Whether it is to be as if this were not synced: see POWERCUT_DEAF. */
static int is_unheard(int fd) {
    if (!deaf || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY) return 0;
    char link[64], path[8192];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    return name && strcmp(name + 1, deaf) == 0;
}

int fdatasync(int fd) {
    int unheard = is_unheard(fd), done = REAL(fdatasync)(fd);
    return unheard ? done : synced(fd, done);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t done = REAL(write)(fd, bytes, count);
    int saved = errno;
    if (active && done > 0) wrote(fd, lseek64(fd, 0, SEEK_CUR) - done, done);
    errno = saved;
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t done = REAL(writev)(fd, parts, count);
    int saved = errno;
    if (active && done > 0) wrote(fd, lseek64(fd, 0, SEEK_CUR) - done, done);
    errno = saved;
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    ssize_t done = REAL(pwrite64)(fd, bytes, count, at);
    int saved = errno;
    wrote(fd, at, done);
    errno = saved;
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    /* Not seen inside the kernel: callers go on with read and write. */
    (void)from, (void)from_at, (void)to, (void)to_at, (void)count, (void)flags;
    errno = ENOSYS;
    return -1;
}

int ftruncate64(int fd, off64_t size) {
    struct stat before;
    int mine = is_under_root(fd, &before), done = REAL(ftruncate64)(fd, size), saved = errno;
    if (mine && done == 0) {
        pthread_mutex_lock(&lock);
        /* Made longer again, it holds zeros there. */
        dirty(known_or_new(&before), size, before.st_size);
        pthread_mutex_unlock(&lock);
    }
    errno = saved;
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* Forgets what a name stood for, if the call that takes the name away succeeds. */
static int without(int folder, const char *path, int (*act)(void *), void *with) {
    struct stat st;
    pthread_mutex_lock(&syncing);
    pthread_mutex_lock(&lock);
    int there = active && fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int done = act(with), saved = errno;
    if (there && done == 0 && (S_ISDIR(st.st_mode) || st.st_nlink == 1)) forget(&st);
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&syncing);
    errno = saved;
    return done;
}

struct call { int folder, flags, to_folder; const char *path, *to; };

static int do_unlink(void *with) { return REAL(unlink)(((struct call *)with)->path); }
static int do_rmdir(void *with) { return REAL(rmdir)(((struct call *)with)->path); }
static int do_unlinkat(void *with) {
    struct call *call = with;
    return REAL(unlinkat)(call->folder, call->path, call->flags);
}
static int do_rename(void *with) {
    struct call *call = with;
    return REAL(rename)(call->path, call->to);
}
static int do_renameat(void *with) {
    struct call *call = with;
    return REAL(renameat)(call->folder, call->path, call->to_folder, call->to);
}

int unlink(const char *path) {
    return without(AT_FDCWD, path, do_unlink, &(struct call){.path = path});
}
int rmdir(const char *path) {
    return without(AT_FDCWD, path, do_rmdir, &(struct call){.path = path});
}
int unlinkat(int folder, const char *path, int flags) {
    return without(folder, path, do_unlinkat, &(struct call){.folder = folder, .path = path, .flags = flags});
}
int rename(const char *path, const char *to) {
    return without(AT_FDCWD, to, do_rename, &(struct call){.path = path, .to = to});
}
int renameat(int folder, const char *path, int to_folder, const char *to) {
    return without(to_folder, to, do_renameat,
                   &(struct call){.folder = folder, .path = path, .to_folder = to_folder, .to = to});
}
