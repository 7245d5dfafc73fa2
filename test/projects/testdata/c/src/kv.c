#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "config.h"
#include "kv.h"
#ifdef HAVE_PTHREAD
#include <pthread.h>
#endif

enum { BUCKETS = 64 };

struct entry {
	struct entry *next;
	char *key, *value;
};

struct kv {
	int fd;
	size_t count;
#ifdef HAVE_PTHREAD
	pthread_mutex_t lock;
#endif
	struct entry *bucket[BUCKETS];
};

static struct entry *find(struct kv *kv, const char *key)
{
	struct entry *e;

	for (e = kv->bucket[kv_hash(key) % BUCKETS]; e; e = e->next)
		if (strcmp(e->key, key) == 0)
			return e;
	return NULL;
}

static int put(void *arg, const char *key, const char *value)
{
	struct kv *kv = arg;
	struct entry *e = find(kv, key);

	if (e) {
		free(e->value);
		e->value = strdup(value);
		return !e->value;
	}
	e = calloc(1, sizeof *e);
	if (!e || !(e->key = strdup(key)) || !(e->value = strdup(value)))
		return -1;
	e->next = kv->bucket[kv_hash(key) % BUCKETS];
	kv->bucket[kv_hash(key) % BUCKETS] = e;
	kv->count++;
	return 0;
}

struct kv *kv_open(const char *path)
{
	struct kv *kv = calloc(1, sizeof *kv);

	if (!kv)
		return NULL;
#ifdef HAVE_PTHREAD
	pthread_mutex_init(&kv->lock, NULL);
#endif
	kv->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (kv->fd < 0 || journal_read(kv->fd, put, kv) < 0) {
		kv_close(kv);
		return NULL;
	}
	return kv;
}

const char *kv_get(struct kv *kv, const char *key)
{
	struct entry *e = find(kv, key);

	return e ? e->value : NULL;
}

int kv_set(struct kv *kv, const char *key, const char *value)
{
	int bad;

#ifdef HAVE_PTHREAD
	pthread_mutex_lock(&kv->lock);
#endif
	bad = put(kv, key, value) || journal_append(kv->fd, key, value);
#ifdef HAVE_PTHREAD
	pthread_mutex_unlock(&kv->lock);
#endif
	return bad ? -1 : 0;
}

size_t kv_count(struct kv *kv) { return kv->count; }

int kv_close(struct kv *kv)
{
	struct entry *e, *next;
	int i, bad = kv->fd < 0 || close(kv->fd);

	for (i = 0; i < BUCKETS; i++)
		for (e = kv->bucket[i]; e; e = next) {
			next = e->next;
			free(e->key);
			free(e->value);
			free(e);
		}
	free(kv);
	return bad ? -1 : 0;
}
