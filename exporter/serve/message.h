#pragma once
/* message - the head of a request of HTTP/1, taken apart (RFC 9112). Pure: bytes in, request out.
 * Context: the exporter's threads.
 *
 * A client may send anything. What other servers are known to read in different ways is malformed here: white space around a
 * field's name, lines that are continued, a CR alone, control characters, two lengths that differ.
 */
#include "route.h"

#include <stddef.h>

enum message_result {
	MESSAGE_WHOLE,
	MESSAGE_MALFORMED,
	MESSAGE_FOREIGN,         /* HTTP, but of a version that is not 1 */
};

struct message {
	struct request request;  /* borrows from the head; has_large_body is the caller's to say */
	uint64_t body_bytes;     /* that follow the head */
	bool is_coded;           /* the body's length does not stand in the head: there is a Transfer-Encoding */
	bool is_persistent;      /* the client may go on to use the connection afterwards */
	bool expects_continue;   /* waits to be told so before it sends the body */
};

/* How many of the n bytes are a whole head, with the empty line that ends it; 0 = it needs more. seen: of how many that was
 * said before. */
size_t message_head_bytes(const char *bytes, size_t n, size_t seen);

/* Takes a whole head apart, and writes NULs and decoded texts into it. *ret_message is valid unless malformed. */
enum message_result message_parse(struct message *ret_message, char *head, size_t bytes);
