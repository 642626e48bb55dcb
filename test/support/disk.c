/* SPDX-License-Identifier: BSD-2-Clause */
#include "disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES 96
#define OPEN_FILES 256
#define NAME 64
#define SECTOR 512

struct pending {
	struct pending *next;
	uint64_t offset, size;
	unsigned char bytes[];
};

/* An inode: names come and go. */
struct inode {
	unsigned char *now, *stable; /* of `capacity` bytes */
	uint64_t capacity, size, stable_size;
	struct pending *pending, **last;
	int locked_by; /* an open file + 1 */
};

/* What names there are, and what they name. */
struct names {
	char name[FILES][NAME];
	int inode[FILES];
	int n;
};

struct disk {
	pthread_mutex_t lock;
	struct queue_impl_disk table;
	struct inode inodes[1024];
	int n_inodes;
	int open[OPEN_FILES]; /* inode + 1 */
	struct names now;
	/* As it was after each change since the directory was synced; the first is the synced one. */
	struct names *history;
	int n_history, history_capacity;
	uint64_t counts[128], fails_at[128], total, limit, used;
	bool fails[128], fails_for_ever[128];
	int error;
	void (*changed)(void *context);
	void *context;
	int (*before)(char what, void *context);
	void *before_context;
};

static uint64_t
next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void
remember(struct disk *disk)
{
	if (disk->n_history == disk->history_capacity) {
		disk->history_capacity = disk->history_capacity * 2 + 8;
		disk->history = realloc(disk->history,
					(size_t)disk->history_capacity * sizeof *disk->history);
	}
	disk->history[disk->n_history++] = disk->now;
}

static int
find(const struct names *names, const char *name)
{
	for (int i = 0; i < names->n; i++)
		if (strcmp(names->name[i], name) == 0)
			return i;
	return -1;
}

static void
drop(struct names *names, int i)
{
	names->n--;
	memmove(names->name[i], names->name[names->n], NAME);
	names->inode[i] = names->inode[names->n];
}

/* With the lock held: is this operation to fail? */
static int
fails_as(struct disk *disk, char what)
{
	unsigned char kind = (unsigned char)what;
	uint64_t number = disk->counts[kind]++;

	return disk->fails[kind] && (number == disk->fails_at[kind] ||
				     (number > disk->fails_at[kind] && disk->fails_for_ever[kind]))
		       ? -disk->error
		       : 0;
}

/* One that changes something. */
static int
fails(struct disk *disk, char what)
{
	int rc = fails_as(disk, what), any = fails_as(disk, '*');

	return rc < 0 ? rc : any;
}

static int
done(struct disk *disk, int rc)
{
	void (*changed)(void *context) = disk->changed;
	void *context = disk->context;

	pthread_mutex_unlock(&disk->lock);
	if (changed)
		changed(context);
	return rc;
}

static int
ask_before(struct disk *disk, char what)
{
	int (*before)(char what, void *context);
	void *context;

	pthread_mutex_lock(&disk->lock);
	before = disk->before;
	context = disk->before_context;
	pthread_mutex_unlock(&disk->lock);
	return before ? before(what, context) : 0;
}

static int
open_directory(void *context, const char *path, bool create)
{
	(void)context;
	(void)path;
	(void)create;
	return 1000;
}

static int
open_file(void *context, int directory, const char *name, enum queue_impl_disk_mode mode)
{
	struct disk *disk = context;
	int i, file, rc = ask_before(disk, 'O');

	(void)directory;
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&disk->lock);
	i = find(&disk->now, name);
	if (i < 0 && mode != QUEUE_IMPL_DISK_CREATE)
		rc = -ENOENT;
	else
		rc = i < 0 ? fails(disk, 'o') : fails_as(disk, 'O');
	if (rc < 0)
		return done(disk, rc);
	if (i < 0) {
		i = disk->now.n++;
		if (i >= FILES || disk->n_inodes >= 1024)
			abort();
		(void)snprintf(disk->now.name[i], NAME, "%s", name);
		disk->now.inode[i] = disk->n_inodes;
		disk->inodes[disk->n_inodes].last = &disk->inodes[disk->n_inodes].pending;
		disk->n_inodes++;
		remember(disk);
	}
	for (file = 0; disk->open[file]; file++)
		if (file == OPEN_FILES - 1)
			abort();
	disk->open[file] = disk->now.inode[i] + 1;
	return done(disk, file);
}

static struct inode *
inode_of(struct disk *disk, int file)
{
	if (file < 0 || file >= OPEN_FILES || !disk->open[file])
		abort();
	return &disk->inodes[disk->open[file] - 1];
}

static void
close_file(void *context, int file)
{
	struct disk *disk = context;

	if (file >= OPEN_FILES)
		return;
	pthread_mutex_lock(&disk->lock);
	/* The lock goes with the file that has it. */
	if (inode_of(disk, file)->locked_by == file + 1)
		inode_of(disk, file)->locked_by = 0;
	disk->open[file] = 0;
	pthread_mutex_unlock(&disk->lock);
}

static int
lock_file(void *context, int file)
{
	struct disk *disk = context;
	int rc = 0;

	pthread_mutex_lock(&disk->lock);
	if (inode_of(disk, file)->locked_by)
		rc = -EBUSY;
	else
		inode_of(disk, file)->locked_by = file + 1;
	pthread_mutex_unlock(&disk->lock);
	return rc;
}

static int64_t
read_file(void *context, int file, void *data, size_t length, uint64_t offset)
{
	struct disk *disk = context;
	const struct inode *inode;
	uint64_t n = 0;
	int rc = ask_before(disk, 'R');

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&disk->lock);
	inode = inode_of(disk, file);
	rc = fails_as(disk, 'R');
	if (rc == 0 && offset < inode->size)
		n = inode->size - offset < length ? inode->size - offset : length;
	if (n > 0)
		memcpy(data, inode->now + offset, n);
	pthread_mutex_unlock(&disk->lock);
	return rc < 0 ? rc : (int64_t)n;
}

static void
grow(struct inode *inode, uint64_t size)
{
	uint64_t capacity = inode->capacity;

	if (size <= capacity)
		return;
	inode->now = realloc(inode->now, size);
	inode->stable = realloc(inode->stable, size);
	memset(inode->now + capacity, 0, size - capacity);
	memset(inode->stable + capacity, 0, size - capacity);
	inode->capacity = size;
}

static void
add_pending(struct inode *inode, uint64_t offset, const void *data, size_t length)
{
	struct pending *pending = malloc(sizeof *pending + length);

	if (!pending)
		abort();
	pending->next = NULL;
	pending->offset = offset;
	pending->size = length;
	memcpy(pending->bytes, data, length);
	*inode->last = pending;
	inode->last = &pending->next;
}

static int
write_file(void *context, int file, const void *data, size_t length, uint64_t offset)
{
	struct disk *disk = context;
	struct inode *inode;
	int rc;

	pthread_mutex_lock(&disk->lock);
	inode = inode_of(disk, file);
	rc = fails(disk, 'w');
	if (rc == 0 && offset + length > inode->size && disk->limit > 0 &&
	    disk->used + (offset + length - inode->size) > disk->limit)
		rc = -ENOSPC;
	if (rc < 0)
		return done(disk, rc);
	grow(inode, offset + length);
	if (offset + length > inode->size) {
		disk->used += offset + length - inode->size;
		inode->size = offset + length;
	}
	memcpy(inode->now + offset, data, length);
	add_pending(inode, offset, data, length);
	return done(disk, 0);
}

static void
forget_pending(struct inode *inode)
{
	struct pending *pending;

	while ((pending = inode->pending)) {
		inode->pending = pending->next;
		free(pending);
	}
	inode->last = &inode->pending;
}

static void
settle(struct inode *inode)
{
	for (const struct pending *pending = inode->pending; pending; pending = pending->next)
		memcpy(inode->stable + pending->offset, pending->bytes, pending->size);
	inode->stable_size = inode->size;
	forget_pending(inode);
}

static int
sync_file(void *context, int file)
{
	struct disk *disk = context;
	int rc;

	pthread_mutex_lock(&disk->lock);
	rc = fails(disk, 's');
	if (rc == 0)
		settle(inode_of(disk, file));
	else
		forget_pending(inode_of(disk, file));
	return done(disk, rc);
}

static int64_t
size_of_file(void *context, int file)
{
	struct disk *disk = context;
	int64_t size;

	pthread_mutex_lock(&disk->lock);
	size = fails_as(disk, 'Z');
	if (size == 0)
		size = (int64_t)inode_of(disk, file)->size;
	pthread_mutex_unlock(&disk->lock);
	return size;
}

static int
rename_file(void *context, int directory, const char *from, const char *to)
{
	struct disk *disk = context;
	int i, target, rc;

	(void)directory;
	pthread_mutex_lock(&disk->lock);
	rc = fails(disk, 'r');
	i = find(&disk->now, from);
	if (rc == 0 && i < 0)
		rc = -ENOENT;
	if (rc == 0) {
		target = find(&disk->now, to);
		(void)snprintf(disk->now.name[i], NAME, "%s", to);
		if (target >= 0)
			drop(&disk->now, target);
		remember(disk);
	}
	return done(disk, rc);
}

static int
unlink_file(void *context, int directory, const char *name)
{
	struct disk *disk = context;
	int i, rc;

	(void)directory;
	pthread_mutex_lock(&disk->lock);
	rc = fails(disk, 'u');
	i = find(&disk->now, name);
	if (rc == 0 && i < 0)
		rc = -ENOENT;
	if (rc == 0) {
		disk->used -= disk->inodes[disk->now.inode[i]].size;
		drop(&disk->now, i);
		remember(disk);
	}
	return done(disk, rc);
}

static int
sync_directory(void *context, int directory)
{
	struct disk *disk = context;
	int rc;

	(void)directory;
	pthread_mutex_lock(&disk->lock);
	rc = fails(disk, 'd');
	if (rc == 0) {
		disk->n_history = 0;
		remember(disk);
	}
	return done(disk, rc);
}

static int
list_files(void *context, int directory, void (*each)(const char *name, void *argument),
	   void *argument)
{
	struct disk *disk = context;
	struct names names;
	int rc;

	(void)directory;
	pthread_mutex_lock(&disk->lock);
	names = disk->now;
	rc = fails_as(disk, 'L');
	pthread_mutex_unlock(&disk->lock);
	for (int i = 0; rc == 0 && i < names.n; i++)
		each(names.name[i], argument);
	return rc;
}

struct disk *
disk_new(void)
{
	static const struct queue_impl_disk table = {
		.open_directory = open_directory,
		.open = open_file,
		.close = close_file,
		.lock = lock_file,
		.read = read_file,
		.write = write_file,
		.sync = sync_file,
		.size = size_of_file,
		.rename = rename_file,
		.unlink = unlink_file,
		.sync_directory = sync_directory,
		.list = list_files,
	};
	struct disk *disk = calloc(1, sizeof *disk);

	if (!disk)
		abort();
	(void)pthread_mutex_init(&disk->lock, NULL);
	disk->table = table;
	disk->table.context = disk;
	remember(disk);
	return disk;
}

void
disk_free(struct disk *disk)
{
	for (int i = 0; i < disk->n_inodes; i++) {
		forget_pending(&disk->inodes[i]);
		free(disk->inodes[i].now);
		free(disk->inodes[i].stable);
	}
	free(disk->history);
	pthread_mutex_destroy(&disk->lock);
	free(disk);
}

const struct queue_impl_disk *
disk_table(struct disk *disk)
{
	return &disk->table;
}

/* The process has ended: nothing is lost, and nothing more is on the disk. */
static void
keep(struct inode *inode, const struct inode *from)
{
	grow(inode, from->capacity);
	if (from->capacity > 0) {
		memcpy(inode->now, from->now, from->capacity);
		memcpy(inode->stable, from->stable, from->capacity);
	}
	inode->size = from->size;
	inode->stable_size = from->stable_size;
	for (const struct pending *pending = from->pending; pending; pending = pending->next)
		add_pending(inode, pending->offset, pending->bytes, pending->size);
}

/* What is left of a file's writes. */
static void
lose(struct inode *inode, const struct inode *from, enum disk_loss loss, uint64_t *seed)
{
	uint64_t size = from->stable_size;

	grow(inode, from->capacity);
	if (from->capacity > 0)
		memcpy(inode->now, from->stable, from->capacity);
	for (const struct pending *pending = from->pending; pending && loss != DISK_LOSE_ALL;
	     pending = pending->next) {
		bool keeps = next_random(seed) % 2;

		for (uint64_t at = 0; at < pending->size;) {
			uint64_t offset = pending->offset + at;
			uint64_t n = SECTOR - offset % SECTOR;

			if (n > pending->size - at)
				n = pending->size - at;
			if (loss == DISK_TEAR)
				keeps = next_random(seed) % 2;
			if (keeps) {
				memcpy(inode->now + offset, pending->bytes + at, n);
				if (size < offset + n)
					size = offset + n;
			}
			at += n;
		}
	}
	inode->size = inode->stable_size = size;
	if (inode->capacity > 0)
		memcpy(inode->stable, inode->now, inode->capacity);
	inode->last = &inode->pending;
}

struct disk *
disk_crash(struct disk *disk, enum disk_loss loss, uint64_t seed)
{
	struct disk *after = disk_new();
	int kept = 0;

	pthread_mutex_lock(&disk->lock);
	if (loss == DISK_LOSE_NONE)
		kept = disk->n_history - 1;
	else if (loss != DISK_LOSE_ALL)
		kept = (int)(next_random(&seed) % (uint64_t)disk->n_history);
	after->now = disk->history[kept];
	after->n_inodes = disk->n_inodes;
	for (int i = 0; i < disk->n_inodes; i++)
		after->inodes[i].last = &after->inodes[i].pending;
	for (int number = 0; number < disk->n_inodes; number++) {
		if (loss == DISK_LOSE_NONE)
			keep(&after->inodes[number], &disk->inodes[number]);
		else
			lose(&after->inodes[number], &disk->inodes[number], loss, &seed);
	}
	after->n_history = 0;
	for (int i = 0; i < after->now.n; i++)
		after->used += after->inodes[after->now.inode[i]].size;
	for (int i = loss == DISK_LOSE_NONE ? 0 : kept; i <= kept; i++) {
		after->now = disk->history[i];
		remember(after);
	}
	pthread_mutex_unlock(&disk->lock);
	return after;
}

void
disk_fail(struct disk *disk, char what, int64_t nth, bool for_ever, int error)
{
	unsigned char kind = (unsigned char)what;

	pthread_mutex_lock(&disk->lock);
	disk->fails[kind] = nth >= 0;
	disk->fails_for_ever[kind] = for_ever;
	disk->fails_at[kind] = disk->counts[kind] + (uint64_t)(nth >= 0 ? nth : 0);
	disk->error = error;
	pthread_mutex_unlock(&disk->lock);
}

uint64_t
disk_count(struct disk *disk, char what)
{
	uint64_t count;

	pthread_mutex_lock(&disk->lock);
	count = disk->counts[(unsigned char)what];
	pthread_mutex_unlock(&disk->lock);
	return count;
}

void
disk_watch(struct disk *disk, void (*changed)(void *context), void *context)
{
	pthread_mutex_lock(&disk->lock);
	disk->changed = changed;
	disk->context = context;
	pthread_mutex_unlock(&disk->lock);
}

void
disk_before(struct disk *disk, int (*before)(char what, void *context), void *context)
{
	pthread_mutex_lock(&disk->lock);
	disk->before = before;
	disk->before_context = context;
	pthread_mutex_unlock(&disk->lock);
}

/* With the lock. */
static struct inode *
inode_named(struct disk *disk, const char *name)
{
	int i = find(&disk->now, name);

	return i < 0 ? NULL : &disk->inodes[disk->now.inode[i]];
}

bool
disk_has(struct disk *disk, const char *name)
{
	return disk_size(disk, name) >= 0;
}

int64_t
disk_size(struct disk *disk, const char *name)
{
	const struct inode *inode;
	int64_t size;

	pthread_mutex_lock(&disk->lock);
	inode = inode_named(disk, name);
	size = inode ? (int64_t)inode->size : -ENOENT;
	pthread_mutex_unlock(&disk->lock);
	return size;
}

void
disk_read(struct disk *disk, const char *name, void *bytes, uint64_t size, uint64_t offset)
{
	const struct inode *inode;

	pthread_mutex_lock(&disk->lock);
	inode = inode_named(disk, name);
	if (!inode || offset + size > inode->size)
		abort();
	if (size > 0)
		memcpy(bytes, inode->now + offset, size);
	pthread_mutex_unlock(&disk->lock);
}

void
disk_spoil(struct disk *disk, const char *name, const void *bytes, uint64_t size, uint64_t offset)
{
	struct inode *inode;

	pthread_mutex_lock(&disk->lock);
	inode = inode_named(disk, name);
	if (!inode || offset + size > inode->size)
		abort();
	memcpy(inode->now + offset, bytes, size);
	memcpy(inode->stable + offset, bytes, size);
	pthread_mutex_unlock(&disk->lock);
}

void
disk_truncate(struct disk *disk, const char *name, uint64_t size)
{
	struct inode *inode;

	pthread_mutex_lock(&disk->lock);
	inode = inode_named(disk, name);
	if (!inode || size > inode->size)
		abort();
	memset(inode->now + size, 0, inode->capacity - size);
	memset(inode->stable + size, 0, inode->capacity - size);
	inode->size = inode->stable_size = size;
	pthread_mutex_unlock(&disk->lock);
}

void
disk_remove(struct disk *disk, const char *name)
{
	int i;

	pthread_mutex_lock(&disk->lock);
	i = find(&disk->now, name);
	if (i < 0)
		abort();
	drop(&disk->now, i);
	disk->n_history = 0;
	remember(disk);
	pthread_mutex_unlock(&disk->lock);
}

void
disk_limit(struct disk *disk, uint64_t bytes)
{
	pthread_mutex_lock(&disk->lock);
	disk->limit = bytes;
	pthread_mutex_unlock(&disk->lock);
}
