/* One name in two versions, as libraries keep old behaviour: the symbol table says f@@NEW and f@OLD. */
__asm__(".symver new_f, f@@NEW\n"
	".symver old_f, f@OLD");

__attribute__((noinline)) int new_f(int n)
{
	return n + 2;
}

__attribute__((noinline)) int old_f(int n)
{
	return n + 1;
}
