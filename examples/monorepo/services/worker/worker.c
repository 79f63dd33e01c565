/* Worker writes invoices: it reads orders, a line each of an id, euro cents and a
   currency, and prints what each customer pays. */
#include <stdio.h>

#include "rates/rates.h"

int main(int argc, char **argv)
{
	FILE *orders = argc > 1 ? fopen(argv[1], "r") : stdin;
	if (!orders) {
		perror(argv[1]);
		return 1;
	}
	char id[32], currency[4];
	long long cents;
	int fields;
	while ((fields = fscanf(orders, "%31s %lld %3s", id, &cents, currency)) == 3) {
		long long amount = cents < 0 || cents > 1000000000 ? -1 : convert(cents, currency);
		if (amount < 0) {
			fprintf(stderr, "order %s can't be paid in %s\n", id, currency);
			return 1;
		}
		printf("%s %lld.%02lld %s\n", id, amount / 100, amount % 100, currency);
	}
	if (fields != EOF || ferror(orders)) {
		fprintf(stderr, "the orders end in a line that is none\n");
		return 1;
	}
	return 0;
}
