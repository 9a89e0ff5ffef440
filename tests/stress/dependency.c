/* dependency - what the plugins of torture need, so that two libraries come and go together. */
__attribute__((visibility("default"))) int torture_dependency(int n);

int torture_dependency(int n)
{
	return n * 100;
}
