#define _GNU_SOURCE
#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "kv.h"

static struct kv *kv;

static void *writer(void *arg)
{
	char key[32];
	int i;

	for (i = 0; i < 25; i++) {
		snprintf(key, sizeof key, "%ld.%d", (long)arg, i);
		assert(kv_set(kv, key, "x") == 0);
	}
	return NULL;
}

int main(void)
{
	char path[4096];
	const char *tmp = getenv("TMPDIR");
	pthread_t thread[8];
	long i;

	snprintf(path, sizeof path, "%s/kv.XXXXXX", tmp ? tmp : "/tmp");
	assert(mkstemp(path) >= 0);
	kv = kv_open(path);
	assert(kv);
	for (i = 0; i < 8; i++)
		assert(pthread_create(&thread[i], NULL, writer, (void *)i) == 0);
	for (i = 0; i < 8; i++)
		assert(pthread_join(thread[i], NULL) == 0);
	assert(kv_count(kv) == 200 && kv_close(kv) == 0 && unlink(path) == 0);
	return 0;
}
