#pragma once
/* every_call - between its files. */
#include <stdbool.h>

/* One more call under this name. */
void count_call(const char *name);

/* Ends the program, saying what failed, unless that is well. */
void require(const char *what, bool is_well);

/* Each calls all functions of its library that profshim interposes. */
void call_openssl_family(void);
void call_gnutls_family(void);
