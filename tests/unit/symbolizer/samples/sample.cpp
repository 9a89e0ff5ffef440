/* C++ names: overloads, methods declared apart from their definition, constructors, templates, lambdas. */
#define PROBE(name) __asm__ volatile("probe_" #name ": nop")

namespace shop {

class Cart {
public:
	explicit Cart(int size);
	int total(int tax) const; /* MARK total_declaration */
	int total(double tax) const;

private:
	int size;
};

Cart::Cart(int n) : size(n) /* MARK constructor */
{
	PROBE(in_constructor); /* MARK in_constructor */
}

__attribute__((noinline)) int Cart::total(int tax) const /* MARK total_int */
{
	PROBE(in_total_int); /* MARK in_total_int */
	return size + tax;
}

__attribute__((noinline)) int Cart::total(double tax) const /* MARK total_double */
{
	return size + static_cast<int>(tax); /* MARK in_total_double */
}

template <typename T> __attribute__((noinline)) T twice(T n) /* MARK twice */
{
	PROBE(in_twice); /* MARK in_twice */
	return n + n;
}

template long twice<long>(long);

namespace {
__attribute__((noinline)) int hidden(int n) /* MARK hidden */
{
	PROBE(in_hidden); /* MARK in_hidden */
	return n * 7;
}
} /* namespace */

int use(int n)
{
	auto lambda = [n](int k) __attribute__((noinline)) { /* MARK lambda */
		PROBE(in_lambda); /* MARK in_lambda */
		return n - k;
	};
	return hidden(n) + lambda(n);
}

} /* namespace shop */
