/* A header with code: its lines belong to this file, in whichever unit they are compiled. */
#pragma once

extern int shared_counter;

static inline __attribute__((always_inline)) int from_header(int n) /* MARK from_header */
{
	__asm__ volatile("probe_in_header: nop"); /* MARK in_header */
	return n ^ shared_counter;
}
