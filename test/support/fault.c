/* SPDX-License-Identifier: BSD-2-Clause */
#include "fault.h"

#include <conveyor/clock.h>

#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FRESH 0xa5
#define STALE 0xdd
#define CHILD_LASTS 60 /* s */

struct fault_block {
	struct fault_block *next;
	void *memory;
	size_t size;
	size_t alignment;
};

static bool
is_to_fail(const struct fault_allocator *fault)
{
	return fault->fail_at != 0 &&
	       (fault->for_good ? fault->calls >= fault->fail_at : fault->calls == fault->fail_at);
}

static void *
allocate(void *context, size_t size, size_t alignment)
{
	struct fault_allocator *fault = context;
	struct fault_block *block = malloc(sizeof *block);
	void *memory = NULL;

	if (!block)
		abort();
	pthread_mutex_lock(&fault->lock);
	fault->calls++;
	if (is_to_fail(fault))
		fault->failed++;
	else
		memory = queue_allocator_libc.allocate(NULL, size, alignment);
	if (memory) {
		memset(memory, FRESH, size);
		*block = (struct fault_block){fault->first, memory, size, alignment};
		fault->first = block;
		fault->blocks++;
		fault->bytes += size;
		block = NULL;
	}
	pthread_mutex_unlock(&fault->lock);
	free(block);
	return memory;
}

static void
release(void *context, void *memory, size_t size, size_t alignment)
{
	struct fault_allocator *fault = context;
	struct fault_block **each, *block;

	pthread_mutex_lock(&fault->lock);
	for (each = &fault->first; *each && (*each)->memory != memory; each = &(*each)->next)
		continue;
	block = *each;
	if (!block || block->size != size || block->alignment != alignment) {
		fault->wrong++;
		block = NULL;
	}
	if (block) {
		*each = block->next;
		fault->blocks--;
		fault->bytes -= size;
		memset(memory, STALE, size);
	}
	pthread_mutex_unlock(&fault->lock);
	if (block)
		queue_allocator_libc.release(NULL, memory, size, alignment);
	free(block);
}

void
fault_init(struct fault_allocator *fault)
{
	memset(fault, 0, sizeof *fault);
	fault->allocator.allocate = allocate;
	fault->allocator.release = release;
	fault->allocator.context = fault;
	pthread_mutex_init(&fault->lock, NULL);
}

void
fault_set(struct fault_allocator *fault, uint64_t fail_at, bool for_good)
{
	pthread_mutex_lock(&fault->lock);
	fault->fail_at = fail_at;
	fault->for_good = for_good;
	fault->calls = 0;
	fault->failed = 0;
	pthread_mutex_unlock(&fault->lock);
}

bool
fault_is_balanced(const struct fault_allocator *fault)
{
	return fault->blocks == 0 && fault->bytes == 0 && fault->wrong == 0 && !fault->first;
}

static void *
do_nothing(void *unused)
{
	return unused;
}

int
fault_threads(void)
{
	static bool has_started_one;
	pthread_t thread;
	DIR *tasks;
	int n = 0;

	/* A sanitizer starts a thread of its own with the first one. */
	if (!has_started_one && pthread_create(&thread, NULL, do_nothing, NULL) == 0)
		pthread_join(thread, NULL);
	has_started_one = true;
	tasks = opendir("/proc/self/task");
	if (!tasks)
		return -1;
	while (readdir(tasks))
		n++;
	closedir(tasks);
	return n - 2; /* without . and .. */
}

bool
fault_threads_return_to(int n)
{
	return FAULT_EVENTUALLY(fault_threads() <= n);
}

bool
fault_is_asleep(pid_t thread)
{
	char path[64], line[256] = "";
	const char *state;
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
	file = fopen(path, "r");
	if (!file)
		return false;
	(void)!fgets(line, sizeof line, file);
	fclose(file);
	/* Behind the name, which may have anything in it. */
	state = strrchr(line, ')');
	return state && state[1] == ' ' && state[2] == 'S';
}

pid_t
fault_fork(void)
{
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0)
		alarm(CHILD_LASTS);
	return child;
}

bool
fault_reap(pid_t child)
{
	int status = -1;

	if (child <= 0 || waitpid(child, &status, 0) != child)
		return false;
	if (WIFSIGNALED(status))
		fprintf(stderr, "child: signal %d\n", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		fprintf(stderr, "child: exit status %d\n", WEXITSTATUS(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void
fault_make_path(char path[FAULT_PATH])
{
	snprintf(path, FAULT_PATH, "/tmp/conveyor-fault.XXXXXX");
	if (!mkdtemp(path) || rmdir(path) != 0)
		abort();
}

void
fault_remove_directory(const char *path)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		(void)unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	(void)rmdir(path);
}

bool
fault_refuse_membarrier(void)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}
