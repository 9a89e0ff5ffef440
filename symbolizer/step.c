#include "step.h"

static void go_on(unsigned weight)
{
	(void)weight;
}

void (*step_taken)(unsigned weight) = go_on;
