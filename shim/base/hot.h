#pragma once
/* hot - the variables of the process that nearly every call reads lie side by side.
 * Context: signal.
 * Between two calls the kernel has the caches: each line and each page that is touched is fetched anew. (Alone by their files
 * they lay in ten pages.)
 */
#define HOT_DATA __attribute__((section("profshim_hot")))
