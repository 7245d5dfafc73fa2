/* What tests of real programs use of the system: processes, signals, shared
 * memory, semaphores, local sockets, loopback, a pseudo-terminal. */
#define _GNU_SOURCE
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <netdb.h>
#include <pwd.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t got;
static void on(int sig) { got = sig; }

static void loopback(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof a;
	int s = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
	struct addrinfo *info;

	assert(bind(s, (void *)&a, n) == 0 && listen(s, 1) == 0 && getsockname(s, (void *)&a, &n) == 0);
	assert(connect(c, (void *)&a, n) == 0 && accept(s, NULL, NULL) >= 0);
	assert(getaddrinfo("localhost", NULL, NULL, &info) == 0);
}

int main(void)
{
	struct passwd *me = getpwuid(getuid());
	int status, id, fd;
	sem_t *sem;
	pid_t child;
	char *shared;

	assert(me && strcmp(me->pw_dir, getenv("HOME")) == 0);
	signal(SIGUSR1, on);
	child = fork();
	if (child == 0) {
		kill(getppid(), SIGUSR1);
		_exit(7);
	}
	assert(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7 && got == SIGUSR1);
	assert(system("exit 3") == 3 << 8);

	fd = shm_open("/kv-test", O_RDWR | O_CREAT | O_EXCL, 0600);
	assert(fd >= 0 && ftruncate(fd, 32 << 20) == 0);
	shared = mmap(NULL, 32 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert(shared != MAP_FAILED);
	memset(shared, 1, 32 << 20);
	assert(shm_unlink("/kv-test") == 0);
	id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	assert(id >= 0 && shmctl(id, IPC_RMID, NULL) == 0);
	sem = sem_open("/kv-test", O_CREAT | O_EXCL, 0600, 1);
	assert(sem != SEM_FAILED && sem_wait(sem) == 0 && sem_unlink("/kv-test") == 0);

	loopback();
	fd = posix_openpt(O_RDWR | O_NOCTTY);
	assert(fd >= 0 && grantpt(fd) == 0 && unlockpt(fd) == 0 && ptsname(fd));
	return 0;
}
