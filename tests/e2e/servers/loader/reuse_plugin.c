/* reuse_plugin - built twice with the same layout: where one has its busy function the other has one that is never called. */
#define NAME2(which, what) which##what
#define NAME1(which, what) NAME2(which, what)
#define NAME(what) NAME1(WHICH, what)

static volatile unsigned sum;

static __attribute__((noinline)) void spin(int millions)
{
	for (int i = 0; i < millions * 1000000; i++)
		sum = sum * 31 + 1;
}

#define BODY                                                                                                           \
	{                                                                                                              \
		for (int i = 0; i < millions * 1000000; i++)                                                           \
			sum = sum * 31 + 1;                                                                            \
	}

__attribute__((noinline, aligned(64))) void NAME(_first)(int millions);
__attribute__((noinline, aligned(64))) void NAME(_first)(int millions) BODY

__attribute__((noinline, aligned(64))) void NAME(_second)(int millions);
__attribute__((noinline, aligned(64))) void NAME(_second)(int millions) BODY

void plugin_work(int millions);

void plugin_work(int millions)
{
	if (millions < 0)
		spin(1);
	IS_FIRST ? NAME(_first)(millions) : NAME(_second)(millions);
}
