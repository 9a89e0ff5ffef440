/* A library that comes and goes. Its function calls back, so that a sample finds the library on the stack. Two builds differ
 * in nothing but numbers, so that their functions lie at the same places with frames of different sizes. */
__attribute__((visibility("default"))) int plugin_work(int (*callback)(int), int n);
int plugin_pad(int n);

int plugin_pad(int n)
{
	volatile int sum = n;

	for (int i = 0; i < PAD; i++)
		sum += i;
	return sum;
}

int plugin_work(int (*callback)(int), int n)
{
	volatile char frame[FRAME_BYTES];
	volatile int sum = plugin_pad(n);

	for (int i = 0; i < FRAME_BYTES; i++)
		frame[i] = 0; /* whoever looks for a return address in the wrong place finds the end of the stack */
	for (int i = 0; i < n; i++)
		sum += callback(i);
	return sum + frame[0];
}
