/* signal_server - listens, and handles or does not handle SIGUSR1 itself.
 *
 *     signal_server own|none PORT
 *
 * own: installs a handler that writes "handled" to stdout. Both print "ready" when all is set up, and end with code 0 on
 * SIGTERM. In between, the program only waits.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t has_ended;

static void on_usr1(int number)
{
	static const char text[] = "handled\n";

	(void)number;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(3);
}

static void on_term(int number)
{
	(void)number;
	has_ended = 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sigaction usr1 = { .sa_handler = on_usr1, .sa_flags = SA_RESTART }, term = { .sa_handler = on_term };
	sigset_t blocked, before;
	int listener;

	if (argc != 3) {
		fprintf(stderr, "usage: signal_server own|none PORT\n");
		return 2;
	}
	if (strcmp(argv[1], "own") == 0)
		sigaction(SIGUSR1, &usr1, NULL);
	sigaction(SIGTERM, &term, NULL);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	address.sin_port = htons((uint16_t)atoi(argv[2]));
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16)) {
		perror("signal_server: listen");
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	while (!has_ended)
		sigsuspend(&before);
	return 0;
}
