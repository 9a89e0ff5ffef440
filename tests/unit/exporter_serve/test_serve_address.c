/* Addresses: their texts, and listening sockets made from them. */
#include "../../../exporter/serve/address.h"
#include "../run.h"

#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const struct {
	const char *text, *same; /* same: what it reads as; NULL = text itself */
	bool is_private;
} good[] = {
	{ "127.0.0.1:9464", NULL, true },
	{ "127.9.9.9:1", NULL, true },
	{ "localhost:80", "127.0.0.1:80", true },
	{ "0.0.0.0:0", NULL, false },
	{ "192.0.2.7:65535", NULL, false },
	{ "[::1]:9464", NULL, true },
	{ "[::]:9464", NULL, false },
	{ "[2001:db8::1]:9464", NULL, false },
	{ "unix:/run/profshim.sock", NULL, true },
	{ "off", NULL, false },
};

START_TEST(an_address_reads_back_as_it_was_written)
{
	struct address address;
	char text[SEG_TEXT_BYTES];

	ck_assert_int_eq(address_parse(&address, good[_i].text), 0);
	address_text(&address, text);
	ck_assert_str_eq(text, good[_i].same ? good[_i].same : good[_i].text);
	ck_assert_int_eq(address.is_private, good[_i].is_private);
}
END_TEST

static const char *const bad[] = {
	"", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:9464x", "127.0.0.1:000080",
	"example.com:80", "[::1]", "::1:9464", "[127.0.0.1]:80", "[::1:80", "]:80", "unix:", "unix:relative", "OFF", "on", "1.2.3:80",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:80",
};

START_TEST(what_is_no_address_is_refused)
{
	struct address address = { .kind = ADDRESS_UNIX };

	ck_assert_msg(address_parse(&address, bad[_i]) == -EINVAL, "%s", bad[_i]);
	ck_assert_int_eq(address.kind, ADDRESS_UNIX);
}
END_TEST

START_TEST(a_unix_path_may_have_107_bytes)
{
	struct address address;
	char text[160] = "unix:/";

	memset(text + 6, 'a', 106);
	ck_assert_int_eq(address_parse(&address, text), 0);
	text[6 + 106] = 'a';
	ck_assert_int_eq(address_parse(&address, text), -EINVAL);
}
END_TEST

static struct address parsed(const char *text)
{
	struct address address;

	ck_assert_int_eq(address_parse(&address, text), 0);
	return address;
}

START_TEST(port_0_takes_a_free_port_and_tells_it)
{
	struct address address = parsed("127.0.0.1:0");
	int fd = address_listen(&address);

	ck_assert_int_ge(fd, 0);
	ck_assert_uint_ne(address_port(&address), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	close(fd);
}
END_TEST

START_TEST(a_taken_port_makes_way_to_the_next_that_is_free)
{
	struct address first = parsed("127.0.0.1:0");
	int fd = address_listen(&first);
	struct address_choice choice = address_choose(&first, false, 0);

	ck_assert_int_ge(choice.fd, 0);
	ck_assert_uint_eq(choice.taken, address_port(&first));
	ck_assert_uint_gt(address_port(&choice.address), address_port(&first));
	ck_assert_uint_lt(address_port(&choice.address), address_port(&first) + ADDRESS_PORT_TRIES);
	close(choice.fd);
	close(fd);
}
END_TEST

START_TEST(the_port_of_a_former_server_comes_first)
{
	struct address former = parsed("127.0.0.1:0"), configured = parsed("127.0.0.1:0");

	close(address_listen(&former));
	struct address_choice choice = address_choose(&configured, true, address_port(&former));
	ck_assert_int_ge(choice.fd, 0);
	ck_assert_uint_eq(choice.taken, 0);
	ck_assert_uint_eq(address_port(&choice.address), address_port(&former));
	close(choice.fd);
}
END_TEST

/* As the kernel does with the sockets of a killed process. */
static void *close_later(void *fd)
{
	usleep(3 * FORMER_PAUSE_MS * 1000);
	close((int)(intptr_t)fd);
	return NULL;
}

START_TEST(the_port_of_a_former_server_is_waited_for_a_little)
{
	struct address former = parsed("127.0.0.1:0");
	pthread_t closer;
	int fd = address_listen(&former);

	ck_assert_int_eq(pthread_create(&closer, NULL, close_later, (void *)(intptr_t)fd), 0);
	struct address_choice choice = address_choose(&former, true, address_port(&former));
	ck_assert_uint_eq(choice.taken, 0);
	ck_assert_uint_eq(address_port(&choice.address), address_port(&former));
	pthread_join(closer, NULL);
	close(choice.fd);
}
END_TEST

START_TEST(an_address_of_another_machine_cannot_be_had)
{
	struct address configured = parsed("192.0.2.1:9464"); /* TEST-NET-1, RFC 5737 */
	struct address_choice choice = address_choose(&configured, false, 0);

	ck_assert_int_eq(choice.fd, -EADDRNOTAVAIL);
	ck_assert_uint_eq(choice.taken, 0);
}
END_TEST

static char dir[] = "/tmp/profshim-test-XXXXXX";
static char unix_text[64];

static void make_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(unix_text, sizeof(unix_text), "unix:%s/s", dir);
}

static void remove_dir(void)
{
	unlink(unix_text + 5);
	rmdir(dir);
}

START_TEST(a_unix_socket_is_for_its_owner_alone)
{
	struct address address = parsed(unix_text);
	struct stat status;
	int fd = address_listen(&address);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(stat(unix_text + 5, &status), 0);
	ck_assert_uint_eq(status.st_mode & 0777, 0600);
	address_release(&address);
	ck_assert_int_eq(stat(unix_text + 5, &status), -1);
	close(fd);
}
END_TEST

START_TEST(a_unix_socket_that_nobody_answers_at_is_replaced)
{
	struct address address = parsed(unix_text);

	close(address_listen(&address)); /* its file stays */
	int fd = address_listen(&address);
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

START_TEST(a_unix_socket_in_use_is_left_alone)
{
	struct address address = parsed(unix_text);
	int fd = address_listen(&address);

	ck_assert_int_eq(address_listen(&address), -EADDRINUSE);
	ck_assert_int_eq(access(unix_text + 5, F_OK), 0);
	close(fd);
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
	struct address address = parsed(unix_text);

	close(open(unix_text + 5, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(address_listen(&address), -EADDRINUSE);
	ck_assert_int_eq(access(unix_text + 5, F_OK), 0);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
	Suite *suite = suite_create("address");
	TCase *texts = tcase_create("texts"), *sockets = tcase_create("sockets"), *unix_sockets = tcase_create("unix sockets");
	SRunner *runner = srunner_create(suite);

	tcase_add_loop_test(texts, an_address_reads_back_as_it_was_written, 0, COUNT(good));
	tcase_add_loop_test(texts, what_is_no_address_is_refused, 0, COUNT(bad));
	tcase_add_test(texts, a_unix_path_may_have_107_bytes);
	tcase_add_test(sockets, port_0_takes_a_free_port_and_tells_it);
	tcase_add_test(sockets, a_taken_port_makes_way_to_the_next_that_is_free);
	tcase_add_test(sockets, the_port_of_a_former_server_comes_first);
	tcase_add_test(sockets, the_port_of_a_former_server_is_waited_for_a_little);
	tcase_add_test(sockets, an_address_of_another_machine_cannot_be_had);
	tcase_add_checked_fixture(unix_sockets, make_dir, remove_dir);
	tcase_add_test(unix_sockets, a_unix_socket_is_for_its_owner_alone);
	tcase_add_test(unix_sockets, a_unix_socket_that_nobody_answers_at_is_replaced);
	tcase_add_test(unix_sockets, a_unix_socket_in_use_is_left_alone);
	tcase_add_test(unix_sockets, a_file_that_is_no_socket_is_left_alone);
	suite_add_tcase(suite, texts);
	suite_add_tcase(suite, sockets);
	suite_add_tcase(suite, unix_sockets);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
