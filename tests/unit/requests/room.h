#pragma once
/* room - the whole of requests over a segment in anonymous memory: bytes in through conn_*, counts out of the segment.
 * Time is made by hand: every call is a microsecond later than the one before.
 */
#include "../../../shim/base/work.h"
#include "../../../shim/requests/connection.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

/* A session with the default buckets, this thread attached and this process in slot 0. */
void room_open(uint32_t max_routes);

/* The process's gauges move to another slot, as in a child of fork; conn_forked is the caller's. */
void room_next_process(void);

extern uint64_t room_now_ns;

/* As the hooks do: before and after the real call. n bytes, or the length of text. */
void room_receive_n(int fd, const char *bytes, size_t n);
void room_receive(int fd, const char *text);
void room_send_n(int fd, const char *bytes, size_t n);
void room_send(int fd, const char *text);
void room_accept(int fd);
void room_close(int fd);

/* The program connects to the server of this number, 192.0.2.number:80. */
void room_connect(int fd, uint8_t server);

/* An answer of 200 with a body of n bytes. */
void room_answer(int fd, size_t n);

/* Makes a route known, as "GET /a": it was answered once, on a connection of its own, and counts as one request. */
void room_know(const char *endpoint);

#define ROOM_ANY UINT32_MAX

/* Requests in the histograms of all shards; name NULL = any endpoint, status and error perhaps ROOM_ANY. */
uint64_t room_requests(enum seg_protocol protocol, const char *name, uint32_t status, uint32_t error);
uint64_t room_sum_ns(const char *name);

/* Those of them that the program asked the server of this number, 0 = those that found no place among the peers. */
uint64_t room_asked(enum seg_protocol protocol, const char *name, uint32_t status, uint32_t error, uint8_t server);

/* Streams by the endpoint that opened them. */
struct room_streams {
	uint64_t opened, ended, sum_ns;
};
struct room_streams room_streams(enum seg_protocol protocol, const char *name);

/* Bodies counted, and their bytes. */
struct room_bodies {
	uint64_t requests, request_bytes, responses, response_bytes;
};
struct room_bodies room_bodies(const char *name);

/* Number of the endpoint called name, SEG_NOT_FOUND if there is none. */
uint32_t room_endpoint(enum seg_protocol protocol, const char *name);
const char *room_endpoint_name(uint32_t endpoint);

uint64_t room_counter(enum seg_counter counter);
uint64_t room_accepted(enum seg_protocol protocol);
uint64_t room_received_bytes(enum seg_protocol protocol);
uint64_t room_sent_bytes(enum seg_protocol protocol);

/* Gauges of the process now in use. */
int64_t room_open_connections(enum seg_protocol protocol);
int64_t room_active(enum seg_method method);
int64_t room_open_streams(enum seg_protocol protocol);

/* All gauges of all processes are zero, and no connection is listed. */
bool room_is_balanced(void);
